//! Slips of the pen: the known word that is nearest to the one found.

/// How alike two words must be (Jaro-Winkler, 0 to 1) to be offered as a likely slip.
const ALIKE: f64 = 0.8;

/// Longer words are no slips of ours; comparing them takes time for nothing.
const MAX_WORD: usize = 64;

/// The nearest known word, if one is near.
pub(super) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > MAX_WORD {
        return None;
    }
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(word, &found.to_lowercase()), word))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// `"a", "b" or "c"`, as a person would list them.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_offered_its_word_and_anything_else_is_not() {
        let known = ["listen", "insecure", "max_body"];
        assert_eq!(nearest("lissten", known), Some("listen"));
        assert_eq!(nearest("Max_Body", known), Some("max_body"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest(&"listen".repeat(20), known), None);
    }

    #[test]
    fn words_are_listed_as_people_do() {
        assert_eq!(listed(["a"]), "\"a\"");
        assert_eq!(listed(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
