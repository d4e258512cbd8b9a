//! Explains errors of a server's certificate, with the fix.

use jiff::Timestamp;
use rustls::{CertificateError, pki_types::UnixTime};

use crate::Trust;

/// Parts of the names of errors for which rustls has no variant, or a deprecated one.
const WEAK: &str = "UnsupportedSignatureAlgorithm";
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";
const NAME_CONSTRAINT: &str = "NameConstraint";

/// The error and the fix. `setting` is the variable that configures `trust`.
pub(crate) fn explain(certificate_error: &CertificateError, trust: &Trust, setting: &str) -> String {
    use CertificateError as Is;
    let other = format!("{certificate_error:?}");
    let fixed = match certificate_error {
        Is::ExpiredContext { time, not_after } => {
            let (end, now) = (date(*not_after), date(*time));
            return format!(
                "it, or one in its chain, expired on {end}; renew it, or set this node's clock, which says {now}"
            );
        }
        Is::NotValidYetContext { time, not_before } => {
            let (start, now) = (date(*not_before), date(*time));
            return format!(
                "it, or one in its chain, is not valid before {start}; set this node's clock, which says {now}, or issue another one"
            );
        }
        Is::NotValidForNameContext { expected, presented } => {
            let (names, host) = (names(presented), expected.to_str());
            return format!(
                "it is for {names} and not for {host}; use one of its names in the address, or issue one for that name"
            );
        }
        Is::UnknownIssuer => return untrusted("its issuer is", trust, setting),
        Is::BadSignature => return untrusted("its signature is not of the key of", trust, setting),
        Is::Expired => "it, or one in its chain, expired; renew it, or set this node's clock",
        Is::NotValidYet => {
            "it, or one in its chain, is not valid yet; set this node's clock, or issue another one"
        }
        Is::NotValidForName => "it is for another name; use that name in the address, or issue another one",
        Is::Revoked => "it was revoked; issue another one",
        Is::UnknownRevocationStatus | Is::ExpiredRevocationList | Is::ExpiredRevocationListContext { .. } => {
            "whether it was revoked is not known; renew the revocation list"
        }
        Is::InvalidOcspResponse => "it comes with a bad OCSP response; correct the server's OCSP stapling",
        Is::InvalidPurpose | Is::InvalidPurposeContext { .. } => {
            "it is not for servers; issue one with the extended key usage serverAuth"
        }
        _ if other.contains(WEAK) => {
            "it, or one in its chain, is signed in a way that is not accepted; issue one signed with SHA-256 or better"
        }
        _ if other.contains(AUTHORITY_AS_SERVER) => {
            "it is an authority's and not a server's; issue a server's certificate, signed by that authority"
        }
        _ if other.contains(NAME_CONSTRAINT) => {
            "its authority is limited to other names; use an authority that may sign for this name"
        }
        _ => return format!("it is malformed or breaks a rule of X.509 ({other}); issue another one"),
    };
    fixed.to_owned()
}

/// Whether the certificate may be trusted in a later attempt: the file may get the new CA soon, as
/// in a rotation.
pub(crate) fn may_be_trusted_later(error: &CertificateError, trust: &Trust) -> bool {
    match error {
        // A CA that was replaced by one with the same name causes a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => trust.file.is_some(),
        // Time passes, and the clock of a node that has just started may be corrected soon.
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => true,
        _ => false,
    }
}

fn untrusted(begin: &str, trust: &Trust, setting: &str) -> String {
    let chain = "and let the server send all intermediate certificates";
    match trust.file.as_deref().map(std::path::Path::display) {
        Some(file) if trust.public => format!(
            "{begin} neither a public authority nor one in {file}; add the authority that signed it to that file, {chain}"
        ),
        Some(file) => format!(
            "{begin} none of the authorities in {file}; add the one that signed it to that file (or set {setting}=both if it is public), {chain}"
        ),
        None => format!(
            "{begin} not a public authority; name a file with the authority that signed it in SCAIVAULT_CA_FILE (and {setting}=private or both), {chain}"
        ),
    }
}

/// The first names, without the parser's formatting (`DnsName("a.example")`).
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    let plain = |name: &String| match name.split_once('(') {
        Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    let mut shown: Vec<_> = presented.iter().take(SHOWN).map(plain).collect();
    match presented.len() {
        0 => shown.push("no name".to_owned()),
        all if all > SHOWN => shown.push(format!("{} more", all - SHOWN)),
        _ => {}
    }
    shown.join(", ").chars().filter(|c| !c.is_control()).collect()
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| format!("{} s after 1970", time.as_secs()), |date| date.to_string())
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use rustls::{ExtendedKeyPurpose, OtherError, pki_types::ServerName};

    use super::*;

    fn trust(file: bool, public: bool) -> Trust {
        Trust { file: file.then(|| "/ca.crt".into()), public }
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn every_fault_is_explained_with_a_fix_and_most_are_final() {
        use CertificateError as Is;
        let other = |text: &'static str| Is::Other(OtherError(Arc::new(std::io::Error::other(text))));
        let name = ServerName::try_from("vault.example").unwrap();
        let presented: Vec<_> = (1..8).map(|number| format!("DnsName(\"{number}.example\")")).collect();
        for (error, expected) in [
            (Is::BadEncoding, "it is malformed or breaks a rule of X.509 (BadEncoding); issue another one"),
            (Is::Expired, "expired; renew it"),
            (
                Is::ExpiredContext { time: at(90), not_after: at(60) },
                "expired on 1970-01-01T00:01:00Z; renew it, or set this node's clock, which says 1970-01-01T00:01:30Z",
            ),
            (Is::NotValidYet, "not valid yet; set this node's clock"),
            (
                Is::NotValidYetContext { time: at(60), not_before: at(90) },
                "not valid before 1970-01-01T00:01:30Z; set",
            ),
            (Is::Revoked, "it was revoked; issue another one"),
            (Is::UnhandledCriticalExtension, "(UnhandledCriticalExtension); issue another one"),
            (Is::UnknownRevocationStatus, "renew the revocation list"),
            (Is::ExpiredRevocationList, "renew the revocation list"),
            (
                Is::ExpiredRevocationListContext { time: at(2), next_update: at(1) },
                "renew the revocation list",
            ),
            #[expect(deprecated, reason = "rustls still makes it")]
            (Is::UnsupportedSignatureAlgorithm, "signed with SHA-256 or better"),
            (
                Is::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![],
                    supported_algorithms: vec![],
                },
                "signed with SHA-256 or better",
            ),
            (Is::NotValidForName, "use that name in the address"),
            (
                Is::NotValidForNameContext { expected: name.clone(), presented },
                "it is for 1.example, 2.example, 3.example, 4.example, 5.example, 2 more and not for vault.example; use",
            ),
            (
                Is::NotValidForNameContext { expected: name, presented: vec![] },
                "it is for no name and not for",
            ),
            (Is::InvalidPurpose, "serverAuth"),
            (
                Is::InvalidPurposeContext { required: ExtendedKeyPurpose::ServerAuth, presented: vec![] },
                "serverAuth",
            ),
            (Is::InvalidOcspResponse, "OCSP stapling"),
            (Is::ApplicationVerificationFailure, "(ApplicationVerificationFailure); issue another one"),
            (other("CaUsedAsEndEntity"), "it is an authority's and not a server's; issue"),
            (other("NameConstraintViolation"), "its authority is limited to other names; use"),
        ] {
            let text = explain(&error, &trust(true, false), "SCAIVAULT_TRUST");
            assert!(text.contains(expected), "{error:?}: {text}");
            let is_early = matches!(error, Is::NotValidYet | Is::NotValidYetContext { .. });
            assert_eq!(may_be_trusted_later(&error, &trust(true, false)), is_early, "{error:?}");
        }
    }

    #[test]
    fn an_unknown_issuer_names_the_setting() {
        for error in [CertificateError::UnknownIssuer, CertificateError::BadSignature] {
            for (file, public, expected) in [
                (
                    true,
                    false,
                    "none of the authorities in /ca.crt; add the one that signed it to that file (or set SCAIKEY_TRUST=both",
                ),
                (true, true, "neither a public authority nor one in /ca.crt; add"),
                (
                    false,
                    true,
                    "not a public authority; name a file with the authority that signed it in SCAIVAULT_CA_FILE (and SCAIKEY_TRUST=private or both)",
                ),
            ] {
                let trust = trust(file, public);
                let text = explain(&error, &trust, "SCAIKEY_TRUST");
                assert!(text.contains(expected), "{text}");
                assert_eq!(may_be_trusted_later(&error, &trust), file);
            }
        }
    }
}
