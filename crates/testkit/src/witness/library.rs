//! The texts that were read, each once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::frontend::Text;
use super::reading::{Reading, read, unreadable};

/// How many texts are remembered; beyond that all are forgotten, and read again.
const MOST: usize = 4096;

/// Room on the stack for every byte of a text, and for a text without any. A level of the tree may
/// take two bytes, as in `1+1+1`, and some kilobytes in a build without optimisation. What is not
/// used is no memory.
const STACK_PER_BYTE: usize = 4096;
const STACK: usize = 1 << 20;

/// A text that was read, under a number of its own.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) number: u64,
    pub(super) reading: Reading,
}

#[derive(Debug, Default)]
pub(super) struct Library {
    books: Mutex<HashMap<String, Arc<Book>>>,
    numbers: AtomicU64,
}

impl Library {
    pub(super) async fn book(&self, text: Text) -> Arc<Book> {
        let known = match &text {
            Text::Whole(text) => Some(text.clone()),
            Text::TooLong | Text::NotUtf8 => None,
        };
        if let Some(text) = &known
            && let Some(book) = self.books().get(text)
        {
            return Arc::clone(book);
        }
        let reading = read_aside(text)
            .await
            .unwrap_or_else(|| unreadable("<a text>", "reading it has failed"));
        let book = Arc::new(Book {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            reading,
        });
        if let Some(text) = known {
            let mut books = self.books();
            if books.len() >= MOST {
                books.clear();
            }
            books.insert(text, Arc::clone(&book));
        }
        book
    }

    fn books(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Book>>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a text on a thread of its own, for a long chain of conditions is a deep tree.
async fn read_aside(text: Text) -> Option<Reading> {
    let length = match &text {
        Text::Whole(text) => text.len(),
        Text::TooLong | Text::NotUtf8 => 0,
    };
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name("statement-witness".to_owned())
        .stack_size(STACK + STACK_PER_BYTE * length)
        .spawn(move || {
            // Nobody waits any longer if the connection is gone.
            let _ = sender.send(read(&text));
        })
        .ok()?;
    receiver.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::frontend::LONGEST_TEXT;

    #[tokio::test]
    async fn the_deepest_tree_of_a_text_has_room() {
        // The room grows with the text.
        const LENGTH: usize = LONGEST_TEXT / 8;
        let start = "select from invoices where tenant_id = $1 and 1";
        for link in [
            "+1",
            " or a",
            "::a",
            "[1]",
            " and b",
            " is null",
            " collate a",
        ] {
            let links = (LENGTH - start.len()) / link.len();
            let text = format!("{start}{}", link.repeat(links));
            let reading = read_aside(Text::Whole(text)).await;
            assert!(reading.is_some(), "{link}");
        }
        for union in [
            " union select 1",
            " join a on a",
            ",(select 1)",
            " intersect table a",
        ] {
            let start = "select 1 from a";
            let links = (LENGTH - start.len()) / union.len();
            let text = format!("{start}{}", union.repeat(links));
            assert!(read_aside(Text::Whole(text)).await.is_some(), "{union}");
        }
    }

    #[tokio::test]
    async fn a_text_is_read_once() {
        let library = Library::default();
        let text = || Text::Whole("select 1".to_owned());
        let first = library.book(text()).await;
        let second = library.book(text()).await;
        assert!(Arc::ptr_eq(&first, &second));
    }
}
