use super::Code;

/// Compares the codes in `docs/csi.md` and `docs/restart.md` with those of the program.
#[test]
fn every_code_has_a_row_in_the_documents() {
    let page = include_str!("../../docs/csi.md");
    let mut rows: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `csi-")?.split_once('`'))
        .map(|(code, _)| format!("csi-{code}"))
        .collect();
    let restart = "the code `restart`";
    assert!(include_str!("../../docs/restart.md").contains(restart));
    rows.push("restart".to_owned());
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(rows, codes);
}
