//! `verify` compares files without revealing their content.

use std::{fs, process::Output};

use crate::support::{Pod, data, within};

/// Runs `verify` with variables and arguments.
async fn verify(pod: &Pod, variables: &[(&str, &str)], files: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        within(pod.agent("verify", variables).args(files).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    check_silence(&stdout);
    check_silence(&stderr);
    (status.code().unwrap(), stdout, stderr)
}

/// Asserts that there is no value and nothing that could be a hash: no long run of hexadecimal
/// digits or base64.
#[track_caller]
fn check_silence(text: &str) {
    assert!(!text.contains("swordfish"), "{text}");
    let is_encoded = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '=';
    for word in text.split(|c| !is_encoded(c)) {
        let has_digit = word.contains(|c: char| c.is_ascii_digit());
        let has_letter = word.contains(|c: char| c.is_ascii_alphabetic());
        assert!(word.len() < 32 || !(has_digit && has_letter), "{word:?} may be a hash: {text}");
    }
}

#[tokio::test]
async fn the_files_of_a_pod_are_compared_with_scaivault() {
    let pod = Pod::new().await;
    let secrets = pod.mapping(&[
        ("app/database", "dsn template=\"{{ data.username }}:{{ data.password }}\""),
        ("app/stripe#key", "key"),
        ("app/absent", "maybe optional=true"),
    ]);
    let variables = [("SECRETS", secrets.as_str())];
    pod.run("init", &variables).await.check(0, &["secrets written"]);
    let (code, stdout, _) = verify(&pod, &variables, &[]).await;
    assert!(code == 0 && stdout.ends_with("2 of 2 equal\n"), "{stdout}");
    assert!(stdout.contains("skipped ") && stdout.contains("/secrets/maybe"), "{stdout}");

    pod.vault.write(&"app/stripe".parse().unwrap(), data("sk-swordfish-2"));
    let (code, stdout, stderr) = verify(&pod, &variables, &[]).await;
    assert!(code == 1 && stdout.contains("different ") && stdout.ends_with("1 of 2 equal\n"), "{stdout}");
    assert!(stderr.contains("1 of 2 files differ or are missing"), "{stderr}");
    // The key differs in each run without any visible effect.
    assert_eq!(verify(&pod, &variables, &[]).await.1, stdout);
    assert_eq!(pod.secret("key").unwrap(), "sk-swordfish", "verify changes nothing");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_fails_the_comparison() {
    let pod = Pod::new().await;
    let watch = pod.mapping(&[("other/secret#key", "key")]);
    let (code, _, stderr) = verify(&pod, &[("WATCH_PATHS", &watch)], &[]).await;
    assert!(code == 3 && stderr.contains("other/secret"), "{stderr}");
}

#[tokio::test]
async fn pairs_of_files_are_compared_without_a_server() {
    let pod = Pod::new().await;
    for (name, content) in [("a", "swordfish"), ("b", "swordfish"), ("c", "swordfish\n"), ("d", "swordfish2")]
    {
        fs::write(pod.path(name), content).unwrap();
    }
    let [left, same, line, other, absent] =
        ["a", "b", "c", "d", "e"].map(|name| pod.path(name).to_str().unwrap().to_owned());
    let (code, stdout, _) = verify(&pod, &[], &[&left, &same]).await;
    assert_eq!((code, stdout), (0, format!("equal      {left}  {same}\n1 of 1 equal\n")));
    let (code, stdout, stderr) =
        verify(&pod, &[], &[&left, &same, &left, &line, &left, &other, &left, &absent]).await;
    let expected = format!(
        "equal      {left}  {same}\nline-end   {left}  {line}\ndifferent  {left}  {other}\nmissing    {left}  {absent}\n1 of 4 equal\n"
    );
    assert_eq!((code, stdout), (1, expected));
    assert!(stderr.contains("3 of 4 files differ or are missing"), "{stderr}");
    let (code, _, stderr) = verify(&pod, &[], &[&left]).await;
    assert!(code == 5 && stderr.contains("expected one argument"), "{stderr}");
}
