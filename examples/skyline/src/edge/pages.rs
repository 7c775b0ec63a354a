//! What the pages show.

use axum::http::StatusCode;
use axum::response::Html;
use chrono::{DateTime, Utc};

use super::html::{Text, page, table};
use crate::directory::Slug;
use crate::notifications::{NotificationList, NotificationState, NotificationText};
use crate::operations::{FlightPage, FlightView};
use crate::reporting::{ReportFormat, Reports, RunState};
use crate::status::Status;
use crate::tenants::{TenantStatus, TenantView};

/// The page of a tenant.
pub(super) struct Home<'a> {
    pub(super) view: &'a TenantView,
    pub(super) user: &'a str,
    pub(super) is_late_first: bool,
    pub(super) flights: FlightPage,
    pub(super) notifications: NotificationList,
    pub(super) reports: Reports,
}

/// The page of the operator.
pub(super) struct Operations<'a> {
    pub(super) user: &'a str,
    pub(super) tenants: Vec<TenantView>,
    pub(super) services: Vec<Status>,
    pub(super) limits: Vec<Limits>,
}

/// What a tenant has left of its requests.
pub(super) struct Limits {
    pub(super) slug: String,
    pub(super) remaining: Option<u64>,
    pub(super) most: u64,
}

pub(super) fn refused(status: StatusCode) -> Html<String> {
    let said = match status {
        StatusCode::UNAUTHORIZED => "Sign in first.",
        StatusCode::FORBIDDEN => "This airline is suspended: ask the operator.",
        StatusCode::NOT_FOUND => "There is nothing here.",
        StatusCode::CONFLICT => "Somebody else was quicker: look again.",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests: wait a moment.",
        StatusCode::GATEWAY_TIMEOUT => "It is not known whether that was done: look again first.",
        StatusCode::SERVICE_UNAVAILABLE => {
            "Not yet: this airline is being set up, or a service is busy."
        }
        status if status.is_client_error() => "That cannot be done.",
        _ => "A service does not answer: try again.",
    };
    let body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<p><a href=\"/\">Back</a></p>\n",
        Text(status.as_u16()),
        Text(said)
    );
    page("Skyline", &body)
}

pub(super) fn sign_in(view: &TenantView, note: Option<&str>) -> Html<String> {
    let note = note.map(|note| format!("<p class=\"note\">{}</p>\n", Text(note)));
    let body = format!(
        "<h1>{}</h1>\n{}<form method=\"post\" action=\"/sign-in\">\n\
         <input name=\"user\" placeholder=\"name\" autofocus required>\n\
         <input name=\"code\" type=\"password\" placeholder=\"code\" required>\n\
         <button>Sign in</button>\n</form>\n",
        Text(&view.name),
        note.unwrap_or_default()
    );
    page(&view.name, &body)
}

pub(super) fn notification(view: &TenantView, text: &NotificationText) -> Html<String> {
    let it = &text.notification;
    let attachment = match it.has_attachment {
        true => format!(
            "<p><a href=\"/notifications/{}/attachment\">flight.csv</a></p>\n",
            Text(it.id)
        ),
        false => String::new(),
    };
    let body = format!(
        "<h1>{}</h1>\n<pre>{}</pre>\n{attachment}<p>{} {}</p>\n<p><a href=\"/\">Back</a></p>\n",
        Text(&it.title),
        Text(&text.body),
        time(it.created_at),
        trace(it.trace.as_deref()),
    );
    page(&view.name, &body)
}

pub(super) fn flight(view: &TenantView, flight: &FlightView) -> Html<String> {
    let name = number(view, flight);
    let body = format!(
        "<h1>{}</h1>\n<p>{}\u{2013}{}, planned for {} UTC: {}</p>\n{}<p><a href=\"/\">Back</a></p>\n",
        Text(&name),
        Text(&flight.origin),
        Text(&flight.destination),
        time(flight.scheduled_departure),
        delay(flight),
        delay_form(flight),
    );
    page(&name, &body)
}

impl Home<'_> {
    pub(super) fn to_html(&self) -> Html<String> {
        let body = [
            header(&self.view.name, self.user),
            self.flights(),
            self.notifications(),
            self.reports(),
        ];
        page(&self.view.name, &body.concat())
    }

    fn flights(&self) -> String {
        let rows = self.flights.flights.iter().map(|flight| {
            vec![
                format!(
                    "<a href=\"/flights/{}\">{}</a>",
                    Text(flight.id),
                    Text(number(self.view, flight))
                ),
                format!(
                    "{}\u{2013}{}",
                    Text(&flight.origin),
                    Text(&flight.destination)
                ),
                time(flight.scheduled_departure),
                delay(flight),
                delay_form(flight),
            ]
        });
        let head = ["flight", "route", "planned (UTC)", "delay", ""];
        let next = match &self.flights.next {
            Some(cursor) => format!(
                "<a href=\"/?late_first={}&amp;cursor={}\">next page</a>",
                self.is_late_first,
                Text(cursor)
            ),
            None => String::new(),
        };
        format!(
            "<h2>Flights</h2>\n<p>{} flights: <a href=\"/\">latest</a>, \
             <a href=\"/?late_first=true\">most late</a></p>\n{}<p>{next}</p>\n",
            self.flights.total,
            table(&head, rows)
        )
    }

    fn notifications(&self) -> String {
        let rows = self.notifications.notifications.iter().map(|it| {
            let title = format!(
                "<a href=\"/notifications/{}\">{}</a>",
                Text(it.id),
                Text(&it.title)
            );
            let title = match it.state {
                NotificationState::New => format!("<b>{title}</b>"),
                NotificationState::Read => title,
            };
            vec![title, time(it.created_at), trace(it.trace.as_deref())]
        });
        format!(
            "<h2>Notifications</h2>\n<p>{} unread</p>\n{}",
            self.notifications.unread,
            table(&["what", "when (UTC)", "trace"], rows)
        )
    }

    fn reports(&self) -> String {
        let definitions = self.reports.definitions.iter().map(|it| {
            let by_itself = match it.runs_by_itself {
                true => "with each delay",
                false => "when asked for",
            };
            vec![
                Text(&it.name).to_string(),
                format!("from {} minutes on", it.least_minutes),
                by_itself.to_owned(),
                match it.format {
                    ReportFormat::Csv => "CSV".to_owned(),
                    ReportFormat::Parquet => "Parquet".to_owned(),
                },
                format!("{} days", it.retention_days),
                format!(
                    "<form method=\"post\" action=\"/reports/{}/runs\"><button>Run</button></form>",
                    Text(it.id)
                ),
            ]
        });
        let runs = self.reports.runs.iter().map(|run| {
            let state = match run.state {
                RunState::Queued => "queued".to_owned(),
                RunState::Running => "running".to_owned(),
                RunState::Failed => "failed".to_owned(),
                RunState::Done => format!(
                    "<a href=\"/runs/{}/download\">{} lines</a>",
                    Text(run.id),
                    run.lines
                ),
            };
            vec![
                Text(&run.name).to_string(),
                state,
                Text(&run.requested_by).to_string(),
                time(run.requested_at),
                trace(run.trace.as_deref()),
            ]
        });
        format!(
            "<h2>Reports</h2>\n{}<h2>Runs</h2>\n{}",
            table(&["report", "delays", "made", "as", "kept", ""], definitions),
            table(&["report", "file", "by", "when (UTC)", "trace"], runs)
        )
    }
}

impl Operations<'_> {
    pub(super) fn to_html(&self) -> Html<String> {
        let body = [
            header("Operator", self.user),
            self.tenants(),
            self.services(),
            self.limits(),
        ];
        page("Operator", &body.concat())
    }

    fn tenants(&self) -> String {
        let rows = self.tenants.iter().map(|view| {
            let (status, then) = match view.status {
                TenantStatus::Provisioning => ("being set up", None),
                TenantStatus::Active => ("active", Some((true, "Suspend"))),
                TenantStatus::Suspended => ("suspended", Some((false, "Serve again"))),
            };
            // The operator does not shut itself out.
            let then = then.filter(|_| view.slug != Slug::OPERATOR);
            let form = then.map(|(is_suspended, word)| {
                format!(
                    "<form method=\"post\" action=\"/tenants/{}/status\"><button \
                     name=\"is_suspended\" value=\"{is_suspended}\">{word}</button></form>",
                    Text(&view.slug)
                )
            });
            vec![
                Text(&view.slug).to_string(),
                Text(&view.name).to_string(),
                Text(view.carrier.as_deref().unwrap_or("")).to_string(),
                view.flights.to_string(),
                status.to_owned(),
                form.unwrap_or_default(),
            ]
        });
        let head = ["host", "name", "airline", "flights", "status", ""];
        format!("<h2>Tenants</h2>\n{}", table(&head, rows))
    }

    fn services(&self) -> String {
        let rows = self.services.iter().map(|status| {
            let cache = status.cache.map(|it| match it.rate() {
                Some(rate) => format!("{rate} % of {}", it.hits + it.misses),
                None => "not asked yet".to_owned(),
            });
            let retention = status
                .retention
                .as_ref()
                .map(|it| format!("{} due, {} failed", it.due, it.failed));
            let lag = &status.outbox;
            vec![
                Text(&status.service).to_string(),
                if status.is_ready {
                    "ready"
                } else {
                    "<span class=\"late\">not ready</span>"
                }
                .to_owned(),
                lag.backlog.to_string(),
                format!("{} s", lag.oldest_seconds),
                format!("{} wait, {} given up", lag.waiting, lag.given_up),
                cache.unwrap_or_default(),
                retention.unwrap_or_default(),
            ]
        });
        let head = [
            "service",
            "health",
            "outbox: unsent",
            "lag",
            "parked",
            "cache hits",
            "retention backlog",
        ];
        format!("<h2>Services</h2>\n{}", table(&head, rows))
    }

    fn limits(&self) -> String {
        let rows = self.limits.iter().map(|it| {
            let left = it
                .remaining
                .map_or("unknown".to_owned(), |left| left.to_string());
            vec![Text(&it.slug).to_string(), left, it.most.to_string()]
        });
        let head = ["host", "requests left", "of, in a minute"];
        format!("<h2>Limits</h2>\n{}", table(&head, rows))
    }
}

fn header(name: &str, user: &str) -> String {
    format!(
        "<header><h1>{}</h1><form method=\"post\" action=\"/sign-out\">{} \
         <button>Sign out</button></form></header>\n",
        Text(name),
        Text(user)
    )
}

/// As people call it: the airline and its number.
fn number(view: &TenantView, flight: &FlightView) -> String {
    format!(
        "{} {}",
        view.carrier.as_deref().unwrap_or(""),
        flight.number
    )
}

fn delay_form(flight: &FlightView) -> String {
    format!(
        "<form method=\"post\" action=\"/flights/{}/delay\"><input type=\"number\" name=\"minutes\" \
         value=\"90\" min=\"1\" max=\"2880\"> <button>Delay</button></form>",
        Text(flight.id)
    )
}

fn delay(flight: &FlightView) -> String {
    match flight.departure_delay {
        _ if flight.is_cancelled => "<span class=\"late\">cancelled</span>".to_owned(),
        Some(minutes @ 1..) => format!("<span class=\"late\">{minutes} min</span>"),
        Some(minutes) => format!("{minutes} min"),
        None => String::new(),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

fn trace(id: Option<&str>) -> String {
    format!("<code>{}</code>", Text(id.unwrap_or("")))
}
