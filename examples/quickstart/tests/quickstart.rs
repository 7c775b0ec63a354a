//! The program as a newcomer runs it.

#![allow(
    clippy::unwrap_used,
    reason = "clippy does not take the helpers of tests for tests"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tenantry_testkit::{PostgresServer, TestDatabase};

const HEADER: &str =
    "dep_delay,arr_delay,carrier,flight,tailnum,origin,dest,distance,minute,time_hour";
const UNITED: &str = "2,11,UA,1545,N14228,EWR,IAH,1400,15,2013-01-01T10:00:00Z";
const AMERICAN: &str = "NA,NA,AA,1141,NA,JFK,MIA,1089,40,2013-01-01T10:00:00Z";

/// A folder of the test's own, which is also where the program's temporary files go.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn quickstart(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_quickstart"))
            .args(arguments)
            .env("TMPDIR", self.path())
            .output()
            .unwrap()
    }

    /// Runs it on an input and a database folder, and returns what it complained of.
    fn complaint(&self, input: &[u8]) -> String {
        let input = self.write("flights.csv", input);
        let keep = self.path().join("database");
        let arguments = [
            "--input",
            input.to_str().unwrap(),
            "--keep",
            keep.to_str().unwrap(),
        ];
        let output = self.quickstart(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(!keep.exists(), "the database was touched");
        let complaint = text(&output.stderr);
        complaint.replace(&input.display().to_string(), "flights.csv")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts that a run of the flights of January 2013 has gone well, and returns what it printed.
#[track_caller]
fn january(output: &Output) -> String {
    let printed = text(&output.stdout);
    assert!(
        output.status.success(),
        "{printed}\n{}",
        text(&output.stderr)
    );
    assert_eq!(text(&output.stderr), "");
    // Figures of the source, added up by awk.
    for row in [
        "UA United Air Lines      4,637   8.33 min     4,637   8.33 min  ok",
        "EV ExpressJet Airlines   4,171  24.23 min     4,171  24.23 min  ok",
        "OO SkyWest Airlines          1  67.00 min         1  67.00 min  ok",
    ] {
        assert!(printed.lines().any(|line| line == row), "{printed}");
    }
    assert_eq!(
        printed
            .lines()
            .filter(|line| line.ends_with("  ok"))
            .count(),
        16
    );
    assert_isolated(&printed);
    printed
}

/// Asserts on the last line, `isolation: 0 foreign rows in N reads and M writes`.
#[track_caller]
fn assert_isolated(printed: &str) {
    let last = printed.lines().last().unwrap();
    let counts = last.strip_prefix("isolation: 0 foreign rows in ").unwrap();
    let (reads, writes) = counts
        .strip_suffix(" writes")
        .unwrap()
        .split_once(" reads and ")
        .unwrap();
    for count in [reads, writes] {
        assert!(count.parse::<u64>().unwrap() > 0, "{last}");
    }
}

#[test]
fn january_runs_with_nothing_installed_and_leaves_nothing_behind() {
    let place = Place::new();
    january(&place.quickstart(&[]));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn kept_database_is_run_on_again() {
    let place = Place::new();
    let keep = place.path().join("kept");
    let arguments = ["--keep", keep.to_str().unwrap()];
    let first = january(&place.quickstart(&arguments));
    assert!(!first.contains("clean-up"), "{first}");
    let second = january(&place.quickstart(&arguments));
    assert!(
        second.contains("27,004 flights of an earlier run removed"),
        "{second}"
    );
    assert!(keep.join("tenants.db").exists());
}

#[tokio::test]
async fn january_runs_on_postgresql_and_runs_again() {
    let server = PostgresServer::shared().await.unwrap();
    let database = TestDatabase::create(server).await.unwrap();
    let place = Place::new();
    let arguments = ["--database", database.admin_url()];
    january(&place.quickstart(&arguments));
    let second = january(&place.quickstart(&arguments));
    assert!(
        second.contains("27,004 flights of an earlier run removed"),
        "{second}"
    );
}

#[test]
fn other_files_may_be_compressed_or_not_and_have_columns_to_spare() {
    let place = Place::new();
    let plain =
        format!("\u{feff}year,{HEADER}\r\n2013,{UNITED}\r\n2013,{AMERICAN}\r\n2013,{UNITED}");
    let mut gzipped = GzEncoder::new(Vec::new(), Compression::fast());
    gzipped.write_all(plain.as_bytes()).unwrap();
    for bytes in [plain.as_bytes(), &*gzipped.finish().unwrap()] {
        let input = place.write("flights", bytes);
        let output = place.quickstart(&["--input", input.to_str().unwrap()]);
        let printed = text(&output.stdout);
        assert!(
            output.status.success(),
            "{printed}\n{}",
            text(&output.stderr)
        );
        assert!(
            printed.contains("AA American Airlines         1          -         1          -  ok")
        );
        assert!(
            printed.contains("UA United Air Lines          2   2.00 min         2   2.00 min  ok")
        );
        assert_isolated(&printed);
    }
}

#[test]
fn a_malformed_line_is_told_with_its_number_and_nothing_is_imported() {
    let place = Place::new();
    // What to put in place of what in the fourth line, and what is said of it.
    for (good, bad, problem) in [
        (",1400", "", "it has 9 fields, and the header has 10"),
        (
            ",1400",
            ",1400,1",
            "it has 11 fields, and the header has 10",
        ),
        (
            "1545",
            "15x45",
            r#"flight is "15x45", which is not a whole number above zero"#,
        ),
        (
            "1545",
            "-1545",
            r#"flight is "-1545", which is not a whole number above zero"#,
        ),
        (
            "1545",
            "2147483648",
            r#"flight is "2147483648", which is not a whole number above zero"#,
        ),
        (
            "2,11",
            "2.5,11",
            r#"dep_delay is "2.5", which is not a whole number of minutes, or NA"#,
        ),
        (
            "2,11",
            "2,",
            r#"arr_delay is "", which is not a whole number of minutes, or NA"#,
        ),
        (
            "2,11",
            "NA,11",
            "the flight has an arr_delay but no dep_delay",
        ),
        (
            "1400",
            "0",
            r#"distance is "0", which is not a whole number above zero"#,
        ),
        (
            "UA",
            "ZZ",
            r#"carrier is "ZZ", which is not the code of one of the sixteen airlines"#,
        ),
        (
            "UA",
            "",
            r#"carrier is "", which is not the code of one of the sixteen airlines"#,
        ),
        (
            "N14228",
            "N14228'; --",
            "tailnum is \"N14228'; --\", which is not up to eight letters",
        ),
        (
            "N14228",
            "N1\u{0}",
            r#"tailnum is "N1\0", which is not up to eight letters"#,
        ),
        (
            "EWR",
            "Newark",
            r#"origin is "Newark", which is not the three capital letters"#,
        ),
        (
            "IAH",
            "iah",
            r#"dest is "iah", which is not the three capital letters of an airport"#,
        ),
        (
            ",15,",
            ",60,",
            r#"minute is "60", which is not a minute from 0 to 59"#,
        ),
        (
            "2013-01-01T10",
            "2013-02-30T10",
            "time_hour is \"2013-02-30T10:00:00Z\", which is not a",
        ),
        (
            "10:00:00Z",
            "10:15:00Z",
            "time_hour is \"2013-01-01T10:15:00Z\", which is not a full",
        ),
        (
            "10:00:00Z",
            "10:00:00+01:00",
            "time_hour is \"2013-01-01T10:00:00+01:00\", which is",
        ),
        (
            "2013-01-01T",
            "0000-01-01T",
            "time_hour is \"0000-01-01T10:00:00Z\", which is not a",
        ),
        (
            "N14228",
            "\"N14228",
            r#"tailnum is "\"N14228", which is not up to eight letters"#,
        ),
    ] {
        let line = UNITED.replacen(good, bad, 1);
        assert_ne!(line, UNITED);
        let file = format!("{HEADER}\n{UNITED}\n{AMERICAN}\n{line}\n{AMERICAN}\n");
        let complaint = place.complaint(file.as_bytes());
        let expected = format!("quickstart: flights.csv, line 4: {problem}");
        assert!(complaint.starts_with(&expected), "{complaint}{expected}");
        assert!(
            complaint.ends_with("; nothing was imported\n"),
            "{complaint}"
        );
    }
}

#[test]
fn lines_are_counted_whatever_ends_them_and_an_empty_one_is_malformed() {
    let place = Place::new();
    for end in ["\n", "\r\n"] {
        let file = [HEADER, UNITED, AMERICAN, "", UNITED].join(end);
        assert_eq!(
            place.complaint(file.as_bytes()),
            "quickstart: flights.csv, line 4: the line is empty; nothing was imported\n"
        );
    }
}

#[test]
fn a_line_that_is_no_text_is_told_with_its_number() {
    let mut file = format!("{HEADER}\n{UNITED}\n").into_bytes();
    file.extend(
        UNITED
            .bytes()
            .map(|byte| if byte == b'N' { 0xff } else { byte }),
    );
    assert_eq!(
        Place::new().complaint(&file),
        "quickstart: flights.csv, line 3: byte 14 is not UTF-8 text; nothing was imported\n"
    );
}

#[test]
fn a_file_without_flights_or_header_is_refused() {
    let place = Place::new();
    let no_column = ", line 1: the header has no column carrier; it needs carrier,flight,tailnum,\
                     origin,dest,distance,time_hour,minute,dep_delay,arr_delay";
    let no_flight = ": there is no flight in the file";
    for (file, problem) in [
        (String::new(), no_flight),
        (format!("{UNITED}\n"), no_column),
        (HEADER.replace("carrier", "Carrier"), no_column),
        (format!("{HEADER}\n"), no_flight),
    ] {
        assert_eq!(
            place.complaint(file.as_bytes()),
            format!("quickstart: flights.csv{problem}; nothing was imported\n")
        );
    }
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let file = include_bytes!("../data/flights-2013-01.csv.gz");
    let complaint = Place::new().complaint(&file[..file.len() / 2]);
    // Half of the bytes are some 13,500 lines.
    assert!(
        complaint.starts_with("quickstart: flights.csv, line 13"),
        "{complaint}"
    );
}

#[test]
fn a_file_that_is_not_there_and_a_url_that_is_none_are_refused() {
    let place = Place::new();
    for (arguments, problem) in [
        (["--input", "no/such/file"], "no/such/file: No such file"),
        (
            ["--database", "mysql://localhost"],
            "--database: write postgres://admin:password@",
        ),
    ] {
        let output = place.quickstart(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let complaint = text(&output.stderr);
        assert!(
            complaint.starts_with(&format!("quickstart: {problem}")),
            "{complaint}"
        );
    }
}
