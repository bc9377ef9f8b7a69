//! A small unified diff of two texts, for errors.

/// Lines around a difference.
const CONTEXT: usize = 2;
/// More changed lines than this are compared as a whole, because the comparison takes the product of both.
const MOST: usize = 500;

/// The difference as a unified diff without its file names. Empty if there is none.
pub(super) fn unified(found: &str, expected: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (found.lines().collect(), expected.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let start = old.iter().zip(&new).take_while(same).count();
    let room = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(room).take_while(same).count();
    let changed = |lines: &[&str]| {
        lines
            .get(start..lines.len() - end)
            .unwrap_or_default()
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    };
    let (removed, added): (Vec<String>, Vec<String>) = (changed(&old), changed(&new));
    if removed.is_empty() && added.is_empty() {
        return match found == expected {
            true => String::new(),
            false => "the ends of lines differ".to_owned(),
        };
    }
    let from = start.saturating_sub(CONTEXT);
    let before = old.get(from..start).unwrap_or_default();
    let after: Vec<&str> = old.iter().skip(old.len() - end).take(CONTEXT).copied().collect();
    let around = before.len() + after.len();
    let mut text =
        format!("@@ -{},{} +{},{} @@\n", from + 1, removed.len() + around, from + 1, added.len() + around);
    let mut line = |sign: char, line: &str| text.extend([&sign.to_string(), line, "\n"]);
    before.iter().for_each(|text| line(' ', text));
    steps(&removed, &added).into_iter().for_each(|(sign, text)| line(sign, text));
    after.iter().for_each(|text| line(' ', text));
    text.trim_end().to_owned()
}

/// The lines of both, by the longest common subsequence.
fn steps<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    if old.len().max(new.len()) > MOST {
        let removed = old.iter().map(|line| ('-', line.as_str()));
        return removed.chain(new.iter().map(|line| ('+', line.as_str()))).collect();
    }
    // common[i][j]: the length of the longest common subsequence of old[i..] and new[j..].
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    let at = |common: &[Vec<usize>], i: usize, j: usize| {
        common.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0)
    };
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let length = match a == b {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if let Some(cell) = common.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut found = Vec::new();
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                found.push((' ', a.as_str()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                found.push(('-', a.as_str()));
                i += 1;
            }
            (_, Some(b)) => {
                found.push(('+', b.as_str()));
                j += 1;
            }
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_with_its_surroundings() {
        let found = "a\nb\nc\nd\ne\nf\ng\n";
        assert_eq!(
            unified(found, "a\nb\nc\nD\ne\nx\nf\ng\n"),
            "@@ -2,6 +2,7 @@\n b\n c\n-d\n+D\n e\n+x\n f\n g"
        );
        assert_eq!(unified(found, found), "");
        assert_eq!(unified("a\n", "a\nb\n"), "@@ -1,1 +1,2 @@\n a\n+b");
        assert_eq!(unified("", "b\n"), "@@ -1,0 +1,1 @@\n+b");
        assert_eq!(unified("a\r\n", "a\n"), "the ends of lines differ");
    }

    #[test]
    fn large_differences_are_shown_whole() {
        let many: String = (0..600).map(|line| format!("{line}\n")).collect();
        assert_eq!(unified(&many, "x\n").lines().count(), 602);
    }
}
