//! The product, as its people and its enemies meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::time::Duration;

use skyline::{Airline, Browser, Skyline, Slug, tell};

const UNITED: Airline = Airline::ALL[0];
const JETBLUE: Airline = Airline::ALL[1];
const HAWAIIAN: Airline = Airline::ALL[2];

#[tokio::test(flavor = "multi_thread")]
async fn the_story_holds_from_the_first_page_to_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    let mut lines = Vec::new();
    tell(skyline.desk(), |line| lines.push(line.to_owned()))
        .await
        .unwrap();
    assert!(
        lines.iter().any(|line| line.starts_with("reported")),
        "{lines:?}"
    );
    skyline.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    assert_eq!(skyline.desk().admit(HAWAIIAN).await.unwrap(), 31);
    let code = skyline.desk().code(HAWAIIAN.slug).unwrap();
    skyline.stop().await.unwrap();

    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    assert_eq!(skyline.desk().admit(HAWAIIAN).await.unwrap(), 31);
    let mut browser = Browser::at(skyline.desk().edge(), HAWAIIAN.slug);
    assert_eq!(browser.sign_in("ada", &code).await.unwrap().status, 303);
    let page = browser.get("/").await.unwrap();
    assert!(page.body.contains("31 flights"), "{}", page.body);
    skyline.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_no_caller_whom_the_edge_does_not_vouch_for() {
    let folder = tempfile::tempdir().unwrap();
    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    skyline.desk().admit(HAWAIIAN).await.unwrap();
    let at = skyline.services();
    for (address, path) in [
        (at.tenants, "/tenant"),
        (at.tenants, "/tenants"),
        (at.operations, "/flights"),
        (at.notifications, "/notifications"),
        (at.reporting, "/reports"),
        (at.reporting, "/status"),
    ] {
        let browser = Browser::at(address, HAWAIIAN.slug);
        assert_eq!(browser.get(path).await.unwrap().status, 401, "{path}");
        let tenant = Slug::new(HAWAIIAN.slug).unwrap().tenant().unwrap();
        let forged = format!("{tenant} 9999999999 user:eve.{}", "0".repeat(64));
        let browser = browser.with_header("x-skyline-caller", &forged);
        assert_eq!(browser.get(path).await.unwrap().status, 401, "{path}");
    }
    // Nobody at the edge is believed either.
    let browser = Browser::at(skyline.desk().edge(), HAWAIIAN.slug);
    let browser = browser.with_header("x-skyline-caller", "anything");
    assert_eq!(browser.get("/").await.unwrap().status, 401);
    for unknown in ["nobody", "127", "operator-2"] {
        let browser = Browser::at(skyline.desk().edge(), unknown);
        assert_eq!(browser.get("/").await.unwrap().status, 404, "{unknown}");
    }
    skyline.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_at_work_and_a_third_that_reaches_for_both_see_nothing_but_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    for airline in Airline::ALL {
        skyline.desk().admit(airline).await.unwrap();
    }
    let sign_in = async |airline: Airline, user: &str| {
        let mut browser = Browser::at(skyline.desk().edge(), airline.slug);
        let code = skyline.desk().code(airline.slug).unwrap();
        assert_eq!(browser.sign_in(user, &code).await.unwrap().status, 303);
        browser
    };
    let (ada, grace) = tokio::join!(sign_in(UNITED, "ada"), sign_in(JETBLUE, "grace"));
    let eve = sign_in(HAWAIIAN, "eve").await;

    // Each delays its ten latest flights by minutes that name it, which no flight of the file has.
    let work = async |browser: &Browser, minutes: u32| {
        let flights = flights(&browser.get("/").await.unwrap().body);
        for flight in flights.iter().take(10) {
            let path = format!("/flights/{flight}/delay");
            let answer = browser
                .post(&path, &format!("minutes={minutes}"))
                .await
                .unwrap();
            assert_eq!(answer.status, 303);
            // The hostile one is told the same of each as of what nobody has.
            let foreign = eve.post(&path, "minutes=2063").await.unwrap();
            let missing = path.replace(flight, &uuid::Uuid::now_v7().to_string());
            let missing = eve.post(&missing, "minutes=2063").await.unwrap();
            assert_eq!((foreign.status, missing.status), (404, 404));
            assert_eq!(foreign.body, missing.body);
        }
        flights
    };
    let (of_ada, of_grace) = tokio::join!(work(&ada, 2061), work(&grace, 2062));
    assert!(of_ada.iter().all(|flight| !of_grace.contains(flight)));

    for (browser, own, foreign) in [(&ada, "2061", "2062"), (&grace, "2062", "2061")] {
        let page = loop {
            let page = browser.get("/").await.unwrap().body;
            let reported = page.matches("<td>Delay watch</td><td><a").count();
            if reported == 10 && page.contains("\u{201d} is ready") {
                break page;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(page.matches(&format!("{own} min</span>")).count(), 10);
        assert!(!page.contains(foreign) && !page.contains("2063"), "{page}");
    }
    let page = eve.get("/").await.unwrap().body;
    for minutes in ["2061", "2062", "2063"] {
        assert!(!page.contains(&format!("{minutes} min")), "{page}");
    }
    skyline.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_made_of_columns_where_its_definition_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let skyline = Skyline::embedded(folder.path(), 0).await.unwrap();
    let mut browsers = Vec::new();
    for airline in [HAWAIIAN, JETBLUE] {
        skyline.desk().admit(airline).await.unwrap();
        let mut browser = Browser::at(skyline.desk().edge(), airline.slug);
        let code = skyline.desk().code(airline.slug).unwrap();
        assert_eq!(browser.sign_in("ada", &code).await.unwrap().status, 303);
        browsers.push(browser);
    }
    let [ada, eve] = &browsers[..] else {
        panic!("there are two");
    };
    let page = ada.get("/").await.unwrap().body;
    let row = page.split("<tr>").find(|row| row.contains("Parquet"));
    let definition = row.unwrap().split("/reports/").nth(1).unwrap();
    let definition = definition.split('/').next().unwrap();
    let asked = ada.post(&format!("/reports/{definition}/runs"), "").await;
    assert_eq!(asked.unwrap().status, 303);
    let run = loop {
        let page = ada.get("/").await.unwrap();
        if let Some(run) = page.between("<a href=\"/runs/", "/download") {
            break run.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let path = format!("/runs/{run}/download");
    let signed = ada.get(&path).await.unwrap();
    let link = signed.header("location").unwrap();
    let file = ada.open(link).await.unwrap();
    let content_type = file.header("content-type");
    assert_eq!(content_type, Some("application/vnd.apache.parquet"));
    assert!(file.bytes.starts_with(b"PAR1") && file.bytes.ends_with(b"PAR1"));
    let foreign = eve.get(&path).await.unwrap();
    assert_eq!(foreign.status, 404);
    skyline.stop().await.unwrap();
}

/// Returns the identifiers of the flights of a page.
fn flights(page: &str) -> Vec<String> {
    let parts = page.split("action=\"/flights/").skip(1);
    parts
        .map(|part| part.split('/').next().unwrap().to_owned())
        .collect()
}
