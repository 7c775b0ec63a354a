//! What the product does, gone through from the outside as its people would, and checked at each step.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::browser::{Browser, Page};
use crate::{Airline, Desk, Result, Slug};

/// How long an event may take until its effect is seen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The trace that the story's request begins with, as the page of a browser or a gateway before it would.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Goes through the story, and hands each line of what it has seen to `print`.
///
/// # Errors
///
/// A step has not shown what it should.
pub async fn tell(desk: &Desk, mut print: impl FnMut(&str) + Send) -> Result<()> {
    let [united, jetblue, hawaiian] = Airline::ALL;
    for airline in Airline::ALL {
        let started = Instant::now();
        let flights = desk.admit(airline).await?;
        print(&format!(
            "tenant     {}: {flights} flights of {} imported by an event, in {:.1} s",
            airline.slug,
            airline.name,
            started.elapsed().as_secs_f64()
        ));
    }

    let mut ada = Browser::at(desk.edge(), united.slug);
    expect(ada.get("/").await?, 401, "a page without a session")?;
    expect(ada.sign_in("ada", "a-guess").await?, 401, "a guessed code")?;
    let code = desk.code(united.slug)?;
    expect(ada.sign_in("ada", &code).await?, 303, "the right code")?;
    let page = expect(ada.get("/").await?, 200, "the page of a tenant")?;
    let flight = page
        .between("/flights/", "/delay")
        .ok_or("there is no flight")?;
    let flight = flight.split('"').next().unwrap_or_default().to_owned();
    for _ in 0..2 {
        expect(
            ada.get(&format!("/flights/{flight}")).await?,
            200,
            "a flight",
        )?;
    }
    let sort = ada.get("/?late_first=true").await?;
    let latest = sort
        .between("class=\"late\">", "<")
        .ok_or("no flight is late")?;
    print(&format!(
        "page       united shows its flights; its longest delay is {latest}"
    ));

    let told = request_to_report(&ada, &flight).await?;
    for line in &told.lines {
        print(line);
    }

    let mut grace = Browser::at(desk.edge(), jetblue.slug);
    let code = desk.code(jetblue.slug)?;
    expect(grace.sign_in("grace", &code).await?, 303, "the right code")?;
    let tries = strangers(&grace, &ada, &flight, &told, &desk.code(united.slug)?).await?;
    print(&format!(
        "stranger   jetblue reaches for flight, notification, file and session of united: {tries} tries in vain"
    ));

    let mut guesser = Browser::at(desk.edge(), united.slug);
    let mut admitted = 0;
    let refused = loop {
        let page = guesser.sign_in("mallory", "a-guess").await?;
        match page.status {
            401 if admitted < 10 => admitted += 1,
            429 => break page,
            status => return Err(format!("a guess was answered by {status}").into()),
        }
    };
    let wait = refused
        .header("retry-after")
        .ok_or("nothing says how long to wait")?;
    print(&format!(
        "limit      {admitted} guesses at a code, then 429 for {wait} s; others go on"
    ));
    expect(ada.get("/").await?, 200, "the page of another user")?;

    suspend(desk, hawaiian, &mut print).await?;
    operator(desk, &mut print).await
}

/// What came of one request.
struct Told {
    lines: Vec<String>,
    notification: String,
    run: String,
    link: String,
}

/// Follows one request by its trace, from the edge to the file.
async fn request_to_report(ada: &Browser, flight: &str) -> Result<Told> {
    let started = Instant::now();
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = ada.clone().with_header("traceparent", &parent);
    let answer = request
        .post(&format!("/flights/{flight}/delay"), "minutes=95")
        .await?;
    let answer = expect(answer, 303, "a delay")?;
    if !answer
        .header("traceparent")
        .is_some_and(|it| it.contains(TRACE))
    {
        return Err("the answer has another trace".into());
    }
    let mut lines = vec![format!(
        "delay      a flight is said to leave 95 minutes late, trace {TRACE}"
    )];

    let page = until(ada, "the notification of a delay", |page| {
        row(page, "95 minutes late").is_some_and(|row| row.contains(TRACE))
    });
    let page = page.await?;
    let found = row(&page, "95 minutes late").ok_or("there is no notification")?;
    let notification = between(found, "/notifications/", "\"")?.to_owned();
    let opened = ada.get(&format!("/notifications/{notification}")).await?;
    let opened = expect(opened, 200, "a notification")?;
    let attachment = ada
        .get(&format!("/notifications/{notification}/attachment"))
        .await?;
    let attachment = expect(attachment, 200, "what is attached")?;
    if !opened.body.contains("95 minutes late") || !attachment.body.trim_end().ends_with(",95") {
        return Err("body or attachment of the notification are others".into());
    }
    lines.push(
        "notified   body and attachment come from blobs; the row has the same trace".to_owned(),
    );

    let page = until(ada, "the report of a delay", |page| {
        row(page, "/download\"").is_some_and(|row| row.contains(TRACE))
    });
    let page = page.await?;
    let found = row(&page, "/download\"").ok_or("there is no file")?;
    let run = between(found, "/runs/", "/download")?.to_owned();
    let signed = ada.get(&format!("/runs/{run}/download")).await?;
    let signed = expect(signed, 303, "a signed link")?;
    let link = signed
        .header("location")
        .ok_or("there is no link")?
        .to_owned();
    let file = expect(ada.open(&link).await?, 200, "the file of a link")?;
    if file.header("content-type") != Some("text/csv") || !file.body.contains(",95\n") {
        return Err("the file of the report is another".into());
    }
    until(ada, "the notification of a report", |page| {
        row(page, "is ready").is_some_and(|row| row.contains(TRACE))
    })
    .await?;
    lines.push(format!(
        "reported   a file of {} lines by a signed link, {:.1} s after the request, with the same trace",
        file.body.lines().count() - 1,
        started.elapsed().as_secs_f64()
    ));
    Ok(Told {
        lines,
        notification,
        run,
        link,
    })
}

/// Reaches for what is another tenant's, and returns in how many ways.
async fn strangers(
    grace: &Browser,
    ada: &Browser,
    flight: &str,
    told: &Told,
    foreign_code: &str,
) -> Result<u32> {
    let Told {
        notification,
        run,
        link,
        ..
    } = told;
    let forms = [format!("/flights/{flight}/delay")];
    let pages = [
        format!("/flights/{flight}"),
        format!("/notifications/{notification}"),
        format!("/notifications/{notification}/attachment"),
        format!("/runs/{run}/download"),
    ];
    let mut tries = 0;
    for path in &forms {
        expect(grace.post(path, "minutes=5").await?, 404, "a foreign row")?;
        tries += 1;
    }
    for path in &pages {
        expect(grace.get(path).await?, 404, "foreign content")?;
        tries += 1;
    }
    let page = expect(grace.get("/").await?, 200, "the page of the stranger")?;
    if page.body.contains(TRACE) {
        return Err("the stranger sees a trace of another tenant".into());
    }
    // A session is one of its tenant, and so is a code.
    let astray = ada.clone().gone_to("jetblue");
    expect(astray.get("/").await?, 401, "a session of another tenant")?;
    let mut mallory = Browser::at_same(grace);
    expect(
        mallory.sign_in("mallory", foreign_code).await?,
        401,
        "a code of another tenant",
    )?;
    // Of a link one letter is another: refused by this product, or by the storage service.
    let (rest, last) = link.split_at(link.len() - 1);
    let forged = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    let answer = grace.open(&forged).await?;
    if !(400..500).contains(&answer.status) {
        return Err(format!("a forged link was answered by {}", answer.status).into());
    }
    // What is the operator's.
    expect(
        grace
            .post("/tenants/united/status", "is_suspended=true")
            .await?,
        404,
        "the operator's",
    )?;
    Ok(tries + 4)
}

async fn suspend(
    desk: &Desk,
    airline: Airline,
    print: &mut (impl FnMut(&str) + Send),
) -> Result<()> {
    let mut alan = Browser::at(desk.edge(), airline.slug);
    expect(
        alan.sign_in("alan", &desk.code(airline.slug)?).await?,
        303,
        "the right code",
    )?;
    expect(alan.get("/").await?, 200, "the page of a tenant")?;
    let mut operator = Browser::at(desk.edge(), Slug::OPERATOR);
    let code = desk.code(Slug::OPERATOR)?;
    expect(
        operator.sign_in("olga", &code).await?,
        303,
        "the right code",
    )?;
    let path = format!("/tenants/{}/status", airline.slug);
    for (word, status) in [("true", 403), ("false", 200)] {
        let answer = operator
            .post(&path, &format!("is_suspended={word}"))
            .await?;
        expect(answer, 303, "a change of status")?;
        // From the answer on.
        expect(alan.get("/").await?, status, "the page after that")?;
    }
    print(&format!(
        "suspended  {} is shut out from the answer on, and let in again, session and all",
        airline.slug
    ));
    Ok(())
}

/// Reads the page of the operator.
async fn operator(desk: &Desk, print: &mut (impl FnMut(&str) + Send)) -> Result<()> {
    let mut operator = Browser::at(desk.edge(), Slug::OPERATOR);
    let code = desk.code(Slug::OPERATOR)?;
    expect(
        operator.sign_in("oscar", &code).await?,
        303,
        "the right code",
    )?;
    // Until everything has left.
    let page = until(&operator, "the page of the operator", |page| {
        [
            "tenants",
            "operations",
            "notifications",
            "reporting",
            "edge",
        ]
        .iter()
        .all(|service| {
            let cells = cells(page, service);
            cells.get(1).is_some_and(|it| it == "ready") && cells.get(2).is_some_and(|it| it == "0")
        })
    });
    let page = page.await?;
    for service in [
        "tenants",
        "operations",
        "notifications",
        "reporting",
        "edge",
    ] {
        let cells = cells(&page, service);
        let cell = |index: usize| cells.get(index).map_or("", String::as_str);
        let mut line = format!(
            "operator   {service}: {}, {} unsent, lag {}",
            cell(1),
            cell(2),
            cell(3)
        );
        for (name, index) in [("cache hits", 5), ("retention", 6)] {
            if !cell(index).is_empty() {
                line += &format!(", {name} {}", cell(index));
            }
        }
        print(&line);
    }
    Ok(())
}

/// Asks for the page of a browser until it shows something.
async fn until(
    browser: &Browser,
    what: &str,
    shows: impl Fn(&Page) -> bool + Send,
) -> Result<Page> {
    let started = Instant::now();
    loop {
        let page = expect(browser.get("/").await?, 200, what)?;
        if shows(&page) {
            return Ok(page);
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{what} does not come").into());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns the first row of a table with a text.
fn row<'p>(page: &'p Page, text: &str) -> Option<&'p str> {
    page.body
        .lines()
        .find(|line| line.starts_with("<tr><td>") && line.contains(text))
}

/// Returns the cells of the row that begins with a text.
fn cells(page: &Page, first: &str) -> Vec<String> {
    let begins = format!("<tr><td>{first}</td>");
    let row = page.body.lines().find(|line| line.starts_with(&begins));
    let cells = row.unwrap_or_default().split("<td>").skip(1);
    cells
        .map(|cell| cell.split("</td>").next().unwrap_or_default().to_owned())
        .collect()
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Result<&'t str> {
    let rest = text.split_once(before).map(|(_, rest)| rest);
    let found = rest
        .and_then(|rest| rest.split_once(after))
        .map(|(found, _)| found);
    found.ok_or_else(|| format!("{before} is not there").into())
}

fn expect(page: Page, status: u16, what: &str) -> Result<Page> {
    match page.status == status {
        true => Ok(page),
        false => Err(format!(
            "{what} was answered by {}, and not by {status}",
            page.status
        )
        .into()),
    }
}
