//! Numbers that decide what is generated: fewer and smaller ones make a simpler statement.

/// A list of choices, at whose end all further ones are zero.
#[derive(Debug)]
pub(crate) struct Choices<'a> {
    numbers: &'a [u16],
    next: usize,
}

impl<'a> Choices<'a> {
    pub(crate) fn new(numbers: &'a [u16]) -> Self {
        Self { numbers, next: 0 }
    }

    /// Returns a number from 0 to `count - 1`; 0 is the simplest.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let number = self.numbers.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(number) % count.max(1)
    }

    /// Returns true in about `percent` of all cases, and false where there are no choices left.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) + percent >= 100
    }

    pub(crate) fn of<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[self.below(choices.len())]
    }
}
