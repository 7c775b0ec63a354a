//! Delays that a tenant tells of, and what became of them.

use std::time::{Duration, Instant};

use skyline::Browser;

/// How long what a process had taken may be kept back after it was killed.
const AGAIN: Duration = Duration::from_secs(120);

/// What became of the delays that a tenant has told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Answered: each is told to the people once.
    pub(crate) accepted: u64,
    /// Not answered: each is told once or never.
    pub(crate) doubtful: u64,
}

impl Ledger {
    /// Tells of a delay by which no report is made.
    pub(crate) async fn tell(&mut self, browser: &Browser, flight: &str) {
        let path = format!("/flights/{flight}/delay");
        match browser.post(&path, "minutes=40").await {
            Ok(answer) if answer.status == 303 => self.accepted += 1,
            _ => self.doubtful += 1,
        }
    }

    /// Asserts that so many are told of, beside those before, as were answered, and perhaps some of the others. What a
    /// process had taken when it was killed has its turn when its lease is over, or the broker gives it out again.
    pub(crate) async fn assert_told(&self, browser: &Browser, before: u64) {
        assert!(self.accepted > 0, "{self:?}");
        let started = Instant::now();
        let told = loop {
            let told = settled(browser).await - before;
            if told >= self.accepted || started.elapsed() > AGAIN {
                break told;
            }
        };
        let expected = self.accepted..=self.accepted + self.doubtful;
        assert!(expected.contains(&told), "{told} were told of {self:?}");
    }
}

/// Returns the identifiers of the flights of the first page, once it is there.
pub(crate) async fn flights(browser: &Browser) -> Vec<String> {
    let page = loop {
        match browser.get("/").await {
            Ok(page) if page.status == 200 => break page.body,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let parts = page.split("action=\"/flights/").skip(1);
    parts
        .map(|part| part.split('/').next().unwrap().to_owned())
        .collect()
}

/// Returns how many notifications nobody has read, once no more come.
pub(crate) async fn settled(browser: &Browser) -> u64 {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        if let Ok(page) = browser.get("/").await
            && page.status == 200
        {
            let unread = page
                .between("<p>", " unread")
                .and_then(|text| text.rsplit('>').next());
            let unread: Option<u64> = unread.and_then(|text| text.parse().ok());
            if unread != last {
                (last, since) = (unread, Instant::now());
            }
        }
        if let Some(unread) = last.filter(|_| since.elapsed() > Duration::from_secs(6)) {
            return unread;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
