//! Suggestions for misspelt words.

/// The least similarity (Jaro-Winkler, 0 to 1) of a word that is suggested.
const MIN_SIMILARITY: f64 = 0.8;

/// The longest word that is compared, in bytes. Known words are far shorter; comparing longer ones only takes time.
const MAX_WORD: usize = 64;

/// The most similar known word, if one is similar enough.
pub(crate) fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if found.len() > MAX_WORD {
        return None;
    }
    known
        .into_iter()
        .map(|word| (strsim::jaro_winkler(word, &found.to_lowercase()), word))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// Formats words as `"a", "b" or "c"`.
pub(crate) fn quoted_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
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
    fn only_a_similar_word_is_suggested() {
        let known = ["listen", "insecure", "max_body"];
        assert_eq!(closest("lissten", known), Some("listen"));
        assert_eq!(closest("Max_Body", known), Some("max_body"));
        assert_eq!(closest("zebra", known), None);
        assert_eq!(closest(&"listen".repeat(20), known), None);
    }

    #[test]
    fn a_list_has_commas_and_a_final_or() {
        assert_eq!(quoted_list(["a"]), "\"a\"");
        assert_eq!(quoted_list(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
