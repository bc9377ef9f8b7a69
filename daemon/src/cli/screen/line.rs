//! A line of styled spans, wrapped at a width and painted.

use console::measure_text_width;

use super::super::terminal::plain;

/// A blank and a sign of percent between which no line ends.
const PERCENT: &str = "\u{a0}%";

/// How a span looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Style {
    #[default]
    Plain,
    Bold,
    Dim,
    /// All is well.
    Good,
    /// Somebody should look.
    Doubt,
    /// Users notice.
    Bad,
}

impl Style {
    fn escape(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("\u{1b}[1m"),
            Self::Dim => Some("\u{1b}[2m"),
            Self::Good => Some("\u{1b}[32m"),
            Self::Doubt => Some("\u{1b}[33m"),
            Self::Bad => Some("\u{1b}[1;31m"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    style: Style,
    text: String,
}

/// A line. If it is too long for the terminal, the rest is indented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Line {
    spans: Vec<Span>,
    indent: usize,
    /// Whether a terminal breaks it where it wants: a command that is copied has no line breaks.
    is_whole: bool,
}

impl Line {
    /// An empty line; `indent`: of what does not fit into the first row.
    pub(in crate::cli) fn new(indent: usize) -> Self {
        Self { indent, ..Self::default() }
    }

    /// Adds a span. Control characters in it have no effect.
    pub(in crate::cli) fn add(mut self, style: Style, text: impl AsRef<str>) -> Self {
        // A number keeps its sign of percent.
        let text = plain(text.as_ref()).replace(['\n', '\t'], " ").replace(" %", PERCENT);
        if !text.is_empty() {
            self.spans.push(Span { style, text });
        }
        self
    }

    /// Adds a plain span.
    pub(in crate::cli) fn text(self, text: impl AsRef<str>) -> Self {
        self.add(Style::Plain, text)
    }

    /// Adds a span that is padded to a column.
    pub(in crate::cli) fn column(self, style: Style, text: impl AsRef<str>, width: usize) -> Self {
        let text = text.as_ref();
        let missing = width.saturating_sub(measure_text_width(text));
        self.add(style, text).text(" ".repeat(missing))
    }

    /// The same line, which is never wrapped.
    pub(in crate::cli) fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// The rows of the line. `width`: of the terminal, if there is one.
    pub(in crate::cli) fn rows(&self, width: Option<usize>, colour: bool) -> Vec<String> {
        let width = width.filter(|_| !self.is_whole).unwrap_or(usize::MAX);
        let indent = if self.indent + 20 <= width { self.indent } else { 0 };
        let mut rows = vec![Vec::<Span>::new()];
        let mut used = 0;
        for (style, word) in self.spans.iter().flat_map(words) {
            let length = measure_text_width(word);
            let is_blank = word.trim().is_empty();
            if used + length > width && used > indent {
                rows.push(vec![Span { style: Style::Plain, text: " ".repeat(indent) }]);
                used = indent;
                // The break takes the place of the blanks.
                if is_blank {
                    continue;
                }
            }
            for piece in pieces(word, width.saturating_sub(used), width.saturating_sub(indent)) {
                if used + measure_text_width(piece) > width {
                    rows.push(vec![Span { style: Style::Plain, text: " ".repeat(indent) }]);
                    used = indent;
                }
                used += measure_text_width(piece);
                if let Some(row) = rows.last_mut() {
                    row.push(Span { style, text: piece.to_owned() });
                }
            }
        }
        rows.into_iter().map(|row| painted(row, colour)).collect()
    }
}

/// The words of a span, and the blanks between them.
fn words(span: &Span) -> impl Iterator<Item = (Style, &str)> {
    let mut rest = span.text.as_str();
    std::iter::from_fn(move || {
        let is_blank = rest.chars().next()? == ' ';
        let end = rest.find(|c: char| (c == ' ') != is_blank).unwrap_or(rest.len());
        let (word, more) = rest.split_at_checked(end)?;
        rest = more;
        Some((span.style, word))
    })
}

/// A word in pieces that fit into the rows: only one that is longer than a whole row is broken.
fn pieces(word: &str, first: usize, others: usize) -> Vec<&str> {
    if measure_text_width(word) <= first.max(others) {
        return vec![word];
    }
    let (mut pieces, mut rest, mut room) = (Vec::new(), word, first);
    while !rest.is_empty() {
        let mut used = 0;
        let fits = |c: &(usize, char)| {
            used += measure_text_width(c.1.encode_utf8(&mut [0; 4]));
            used <= room
        };
        let end = rest.char_indices().take_while(fits).last().map_or(0, |(at, c)| at + c.len_utf8());
        let end = if end == 0 { rest.chars().next().map_or(rest.len(), char::len_utf8) } else { end };
        let (piece, more) = rest.split_at_checked(end).unwrap_or((rest, ""));
        pieces.push(piece);
        (rest, room) = (more, others);
    }
    pieces
}

fn painted(row: Vec<Span>, colour: bool) -> String {
    let mut joined = Vec::<Span>::new();
    for span in row {
        match joined.last_mut().filter(|last| last.style == span.style) {
            Some(last) => last.text.push_str(&span.text),
            None => joined.push(span),
        }
    }
    let mut text = String::new();
    for Span { style, text: part } in joined {
        match style.escape().filter(|_| colour && !part.trim().is_empty()) {
            Some(escape) => {
                text.push_str(escape);
                text.push_str(&part);
                text.push_str("\u{1b}[0m");
            }
            None => text.push_str(&part),
        }
    }
    text.trim_end().replace(PERCENT, " %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_and_the_rest_is_indented() {
        let line = Line::new(4).text("one two ").add(Style::Bad, "three four").text(" five");
        assert_eq!(line.rows(None, false), ["one two three four five"]);
        assert_eq!(line.rows(Some(80), false), ["one two three four five"]);
        let percent = Line::new(0).text("aaaaaaaaaaaaaaaaa 100 % b").rows(Some(20), false);
        assert_eq!(percent, ["aaaaaaaaaaaaaaaaa", "100 % b"]);
        let narrow = Line::new(2).text("a word that is long enough to be wrapped at last");
        assert_eq!(
            narrow.rows(Some(24), false),
            ["a word that is long", "  enough to be wrapped", "  at last"]
        );
    }

    #[test]
    fn a_word_that_is_longer_than_a_row_is_broken() {
        let line = Line::new(0).text(format!("x {}", "y".repeat(50)));
        let rows = line.rows(Some(30), false);
        assert!(rows.iter().all(|row| row.len() <= 30), "{rows:?}");
        assert_eq!(rows.concat().replace(' ', "").len(), 51);
        let wide = Line::new(0).text("版".repeat(20)).rows(Some(30), false);
        assert_eq!(wide, ["版".repeat(15), "版".repeat(5)]);
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let line = Line::new(0).text("a ").add(Style::Bad, "b\u{1b}[2J");
        assert_eq!(line.rows(None, false), ["a b\\u{1b}[2J"]);
        assert_eq!(line.rows(None, true), ["a \u{1b}[1;31mb\\u{1b}[2J\u{1b}[0m"]);
        let words = Line::new(0).add(Style::Good, "two words").text(" more");
        assert_eq!(words.rows(None, true), ["\u{1b}[32mtwo words\u{1b}[0m more"]);
    }

    #[test]
    fn a_command_is_not_wrapped() {
        let command = format!("cutover deploy shop --version {}", "1".repeat(80));
        assert_eq!(Line::new(6).text(&command).whole().rows(Some(40), false), [command]);
    }
}
