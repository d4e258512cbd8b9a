//! What is wrong with a server's certificate, in the words of whoever has to mend it.

use jiff::Timestamp;
use rustls::{CertificateError, pki_types::UnixTime};

use crate::Trust;

/// Parts of the names of errors that rustls passes on without a variant of their own, or has deprecated.
const WEAK: &str = "UnsupportedSignatureAlgorithm";
const AUTHORITY_AS_SERVER: &str = "CaUsedAsEndEntity";
const NAME_CONSTRAINT: &str = "NameConstraint";

/// What is wrong, and what to do about it. `trust` is whom the client believes, `setting` the variable that says so.
pub(crate) fn explain(certificate_error: &CertificateError, trust: &Trust, setting: &str) -> String {
    use CertificateError as Is;
    let other = format!("{certificate_error:?}");
    match certificate_error {
        Is::ExpiredContext { time, not_after } => format!(
            "it, or one in its chain, expired on {}; renew it, or set this node's clock, which says {}",
            date(*not_after),
            date(*time)
        ),
        Is::Expired => "it, or one in its chain, expired; renew it, or set this node's clock".to_owned(),
        Is::NotValidYetContext { time, not_before } => format!(
            "it, or one in its chain, is not valid before {}; set this node's clock, which says {}, or issue another one",
            date(*not_before),
            date(*time)
        ),
        Is::NotValidYet => {
            "it, or one in its chain, is not valid yet; set this node's clock, or issue another one"
                .to_owned()
        }
        Is::NotValidForNameContext { expected, presented } => format!(
            "it is for {} and not for {}; use one of its names in the address, or issue one for that name",
            names(presented),
            expected.to_str()
        ),
        Is::NotValidForName => {
            "it is for another name; use that name in the address, or issue another one".to_owned()
        }
        Is::UnknownIssuer => untrusted("its issuer is", trust, setting),
        Is::BadSignature => untrusted("its signature is not of the key of", trust, setting),
        Is::Revoked => "it was revoked; issue another one".to_owned(),
        Is::UnknownRevocationStatus | Is::ExpiredRevocationList | Is::ExpiredRevocationListContext { .. } => {
            "whether it was revoked is not known; renew the revocation list".to_owned()
        }
        Is::InvalidOcspResponse => {
            "it comes with a bad OCSP response; correct the server's OCSP stapling".to_owned()
        }
        Is::InvalidPurpose | Is::InvalidPurposeContext { .. } => {
            "it is not for servers; issue one with the extended key usage serverAuth".to_owned()
        }
        Is::UnsupportedSignatureAlgorithmContext { .. }
        | Is::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => weak(),
        Is::BadEncoding | Is::UnhandledCriticalExtension => {
            format!("it is malformed or has an extension that is not understood ({other}); issue another one")
        }
        _ if other.contains(WEAK) => weak(),
        _ if other.contains(AUTHORITY_AS_SERVER) => {
            "it is an authority's and not a server's; issue a server's certificate, signed by that authority"
                .to_owned()
        }
        _ if other.contains(NAME_CONSTRAINT) => {
            "its authority is limited to other names; issue one by an authority that may sign for this name"
                .to_owned()
        }
        _ => format!("it breaks a rule of X.509 ({other}); issue another one"),
    }
}

fn weak() -> String {
    "it, or one in its chain, is signed in a way that is not accepted; issue one signed with SHA-256 or better".to_owned()
}

/// Whether another attempt may find the certificate believed: the file may be about to get the authority, as in a rotation.
pub(crate) fn may_be_trusted_later(error: &CertificateError, trust: &Trust) -> bool {
    match error {
        // An authority that was replaced by one of the same name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => trust.file.is_some(),
        // Time passes, and the clock of a node that just started may be set soon.
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => true,
        _ => false,
    }
}

fn untrusted(begin: &str, trust: &Trust, setting: &str) -> String {
    match &trust.file {
        Some(file) if trust.public => format!(
            "{begin} neither a public authority nor one in {}; add the authority that signed it to that file, and let the server send all intermediate certificates",
            file.display()
        ),
        Some(file) => format!(
            "{begin} none of the authorities in {}; add the one that signed it to that file, let the server send all intermediate certificates, or set {setting}=both if a public authority signed it",
            file.display()
        ),
        None => format!(
            "{begin} not a public authority; name a file with the authority that signed it in SCAIVAULT_CA_FILE (and {setting}=private or both), and let the server send all intermediate certificates"
        ),
    }
}

/// Up to some names, without the parser's own words around them (`DnsName("a.example")`).
fn names(presented: &[String]) -> String {
    const SHOWN: usize = 5;
    if presented.is_empty() {
        return "no name at all".to_owned();
    }
    let plain = |name: &String| match name.split_once('(') {
        Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    let mut shown: Vec<_> = presented.iter().take(SHOWN).map(plain).collect();
    if presented.len() > SHOWN {
        shown.push("more".to_owned());
    }
    shown.join(", ").chars().filter(|c| !c.is_control()).collect()
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| format!("{} s after 1970", time.as_secs()), |date| date.to_string())
}
