//! Who a client is by the certificate that it has shown: the names that may be those of a user.

use super::dn::{ATTRIBUTES, Attribute, Dn, Rdn};
use std::fmt;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, BmpString, Ia5StringRef, PrintableStringRef};
use x509_cert::der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::RdnSequence;

/// The names in a certificate that was verified.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The subject alternative names, by kind, as they stand in the certificate.
    pub emails: Vec<String>,
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    /// The subject as text: those of its attributes that the reference knows, in its order.
    pub subject: String,
    /// `DC=a,DC=b`: the subject's domain components; empty if there are none.
    domain: String,
    /// All of the subject; None if it is empty or has attributes that no user can be named by.
    dn: Option<Dn>,
}

/// Why the names cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// It is not a certificate, or not in the distinguished encoding.
    Encoding(String),
    /// An attribute of the subject, given by its object identifier, is not text.
    NotText(String),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Encoding(why) => write!(f, "the certificate cannot be read: {why}"),
            CertificateError::NotText(oid) => {
                write!(
                    f,
                    "attribute {oid} of the certificate's subject is not text"
                )
            }
        }
    }
}

impl std::error::Error for CertificateError {}

/// By which of its names a certificate belongs to a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamedBy {
    Email,
    Dns,
    Uri,
    DistinguishedName,
    SubjectWithDomain,
    Subject,
}

impl fmt::Display for NamedBy {
    /// The beginning of the log's line, up to the name itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            NamedBy::Email => "email found in cert",
            NamedBy::Dns => "SAN found in cert",
            NamedBy::Uri => "URI found in cert",
            NamedBy::DistinguishedName => "DistinguishedNameMatch",
            NamedBy::SubjectWithDomain => "RDNSequence",
            NamedBy::Subject => "certificate subject",
        };
        write!(f, "Using {what} for auth")
    }
}

impl Identity {
    /// Reads the names in a certificate, given in DER.
    ///
    /// # Errors
    /// The certificate cannot be read. That it was verified does not mean that it can.
    pub fn from_der(der: &[u8]) -> Result<Identity, CertificateError> {
        let bad = |e: x509_cert::der::Error| CertificateError::Encoding(e.to_string());
        let certificate = Certificate::from_der(der).map_err(bad)?.tbs_certificate;
        let mut identity = Identity::default();
        let extensions = certificate.extensions.iter().flatten();
        for extension in extensions.filter(|e| e.extn_id == ID_CE_SUBJECT_ALT_NAME) {
            let value = extension.extn_value.as_bytes();
            for name in SubjectAltName::from_der(value).map_err(bad)?.0 {
                match name {
                    GeneralName::Rfc822Name(text) => identity.emails.push(text.to_string()),
                    GeneralName::DnsName(text) => identity.dns.push(text.to_string()),
                    GeneralName::UniformResourceIdentifier(text) => {
                        identity.uris.push(text.to_string());
                    }
                    _ => {}
                }
            }
        }
        identity.read_subject(&certificate.subject)?;
        Ok(identity)
    }

    fn read_subject(&mut self, subject: &RdnSequence) -> Result<(), CertificateError> {
        let (mut rdns, mut all_known) = (Vec::new(), true);
        for rdn in &subject.0 {
            let mut attributes = Vec::new();
            for attribute in rdn.0.iter() {
                let oid = attribute.oid.to_string();
                let value =
                    text(&attribute.value).ok_or_else(|| CertificateError::NotText(oid.clone()))?;
                let mut known = ATTRIBUTES.iter().filter(|(known, _)| *known == oid);
                match known.next() {
                    Some((_, name)) => attributes.push(Attribute { name, value }),
                    None => all_known = false,
                }
            }
            if !attributes.is_empty() {
                rdns.push(Rdn(attributes));
            }
        }
        let values = |wanted: &str| {
            let of_all = rdns.iter().flat_map(|rdn| &rdn.0);
            let named = of_all.filter(|attribute| attribute.name == wanted);
            let shown = named.map(|a| format!("{wanted}={}", escaped(&a.value)));
            shown.collect::<Vec<_>>()
        };
        let parts = SUBJECT_ORDER.iter().filter_map(|(name, several)| {
            let mut values = values(name);
            if !several {
                // Of what should be there once, the last one counts.
                values = values
                    .pop()
                    .filter(|v| v.len() > name.len() + 1)
                    .into_iter()
                    .collect();
            }
            (!values.is_empty()).then(|| values.join("+"))
        });
        self.subject = parts.collect::<Vec<_>>().join(",");
        self.domain = values("DC").join(",");
        rdns.reverse();
        self.dn = Dn::new(rdns).filter(|_| all_known);
        Ok(())
    }

    /// Whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        let lists = [&self.emails, &self.dns, &self.uris];
        lists.iter().all(|names| names.is_empty()) && self.subject.is_empty() && self.dn.is_none()
    }

    /// Finds the user that this is, by the names in the reference's order: e-mail addresses, DNS
    /// names, URIs, the subject as a distinguished name (as it stands, then with its parts in any
    /// order), the subject's text with its domain components, and without them. `by_name` looks up
    /// a user of exactly that name; `by_dn` are the users whose name is a distinguished one.
    pub fn find_user<'a, U>(
        &self,
        by_name: impl Fn(&str) -> Option<U>,
        by_dn: impl Iterator<Item = (&'a Dn, U)> + Clone,
    ) -> Option<(U, NamedBy)> {
        let by_name = |name: &str| if name.is_empty() { None } else { by_name(name) };
        let lists = [
            (&self.emails, NamedBy::Email),
            (&self.dns, NamedBy::Dns),
            (&self.uris, NamedBy::Uri),
        ];
        for (names, by) in lists {
            if let Some(user) = names.iter().find_map(|name| by_name(name)) {
                return Some((user, by));
            }
        }
        if let Some(own) = &self.dn {
            let same = by_dn.clone().find(|(dn, _)| *dn == own);
            let found = same.or_else(|| by_dn.clone().find(|(dn, _)| dn.has_same_parts(own)));
            if let Some((_, user)) = found {
                return Some((user, NamedBy::DistinguishedName));
            }
        }
        if !self.domain.is_empty()
            && let Some(user) = by_name(&format!("{},{}", self.subject, self.domain))
        {
            return Some((user, NamedBy::SubjectWithDomain));
        }
        by_name(&self.subject).map(|user| (user, NamedBy::Subject))
    }
}

/// The attributes in a subject's text, in its order, and whether all values of one are shown.
const SUBJECT_ORDER: &[(&str, bool)] = &[
    ("SERIALNUMBER", false),
    ("CN", false),
    ("OU", true),
    ("O", true),
    ("POSTALCODE", true),
    ("STREET", true),
    ("L", true),
    ("ST", true),
    ("C", true),
];

/// A value as it stands in a subject's text.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (i, c) in value.char_indices() {
        let special = match c {
            ' ' => i == 0 || i + 1 == value.len(),
            '#' => i == 0,
            c => ",+\"\\<>;".contains(c),
        };
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The text of an attribute; None if it is of a type that is not text.
fn text(value: &Any) -> Option<String> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::TeletexString => String::from_utf8(bytes.to_vec()).ok(),
        Tag::PrintableString => Some(PrintableStringRef::new(bytes).ok()?.to_string()),
        Tag::Ia5String | Tag::NumericString => Some(Ia5StringRef::new(bytes).ok()?.to_string()),
        Tag::BmpString => Some(BmpString::from_ucs2(bytes.to_vec()).ok()?.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair, SanType};

    fn params(subject: &[(DnType, &str)]) -> CertificateParams {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params
    }

    fn der(params: &CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn identity(params: &CertificateParams) -> Identity {
        Identity::from_der(&der(params)).unwrap()
    }

    fn dc() -> DnType {
        DnType::from_oid(&[0, 9, 2342, 19200300, 100, 1, 25])
    }

    /// Which of these users a certificate belongs to, and by what.
    fn find(identity: &Identity, users: &[&'static str]) -> Option<(&'static str, NamedBy)> {
        let dns: Vec<_> = users
            .iter()
            .filter_map(|user| Some((Dn::parse(user).ok()?, *user)))
            .collect();
        identity.find_user(
            |name| users.iter().find(|user| **user == name).copied(),
            dns.iter().map(|(dn, user)| (dn, *user)),
        )
    }

    #[test]
    fn alternative_names_come_in_order() {
        let mut params = params(&[(DnType::CommonName, "cn")]);
        params.subject_alt_names = vec![
            SanType::URI("spiffe://a/b".try_into().unwrap()),
            SanType::DnsName("h.example".try_into().unwrap()),
            SanType::Rfc822Name("first@x".try_into().unwrap()),
            SanType::Rfc822Name("derek@nats.io".try_into().unwrap()),
        ];
        let id = identity(&params);
        let all = ["CN=cn", "spiffe://a/b", "h.example", "derek@nats.io"];
        assert_eq!(find(&id, &all), Some(("derek@nats.io", NamedBy::Email)));
        assert_eq!(find(&id, &all[..3]), Some(("h.example", NamedBy::Dns)));
        assert_eq!(find(&id, &all[..2]), Some(("spiffe://a/b", NamedBy::Uri)));
        assert_eq!(
            find(&id, &all[..1]),
            Some(("CN=cn", NamedBy::DistinguishedName))
        );
        assert_eq!(find(&id, &["CN=other", "cn", "", "CN="]), None);
    }

    #[test]
    fn the_subject_reads_as_in_go() {
        let id = identity(&params(&[
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "CA"),
            (DnType::LocalityName, "LA"),
            (DnType::OrganizationName, "a, b+c;\"#"),
            (DnType::OrganizationalUnitName, "#x "),
            (DnType::CommonName, " localhost"),
        ]));
        assert_eq!(
            id.subject,
            r##"CN=\ localhost,OU=\#x\ ,O=a\, b\+c\;\"#,L=LA,ST=CA,C=US"##
        );
        assert!(!id.is_empty());
        assert!(identity(&params(&[])).is_empty());
    }

    #[test]
    fn parts_match_in_any_order_and_domains_count() {
        let id = identity(&params(&[
            (dc(), "com"),
            (DnType::OrganizationalUnitName, "Users"),
            (DnType::CommonName, "www"),
        ]));
        let dn = Some(NamedBy::DistinguishedName);
        let by = |users: &[&'static str]| find(&id, users).map(|(_, by)| by);
        assert_eq!(by(&["CN=www,OU=Users,DC=com"]), dn);
        assert_eq!(by(&["DC=com,OU=Users,CN=www"]), dn);
        assert_eq!(by(&["cn=www, ou=Users, dc=com"]), dn);
        assert_eq!(by(&["CN=www,OU=Users"]), Some(NamedBy::Subject));
        assert_eq!(by(&["CN=www"]), None);
        assert_eq!(by(&["CN=www,OU=Users,DC=com,DC=com"]), None);
        let prefers = ["OU=Users,CN=www,DC=com", "CN=www,OU=Users,DC=com"];
        assert_eq!(find(&id, &prefers).unwrap().0, prefers[1]);
    }

    #[test]
    fn attributes_without_a_name_leave_the_subjects_text() {
        let email = DnType::from_oid(&[1, 2, 840, 113549, 1, 9, 1]);
        let id = identity(&params(&[
            (dc(), "com"),
            (DnType::CommonName, "www"),
            (email, "a@b"),
        ]));
        assert_eq!(id.dn, None);
        let found = find(&id, &["CN=www", "CN=www,DC=com"]);
        assert_eq!(found, Some(("CN=www,DC=com", NamedBy::SubjectWithDomain)));
        assert_eq!(find(&id, &["CN=www"]), Some(("CN=www", NamedBy::Subject)));
    }

    #[test]
    fn a_comma_in_a_value_is_not_a_separator() {
        for subject in [
            vec![(DnType::CommonName, "admin,OU=ops")],
            vec![(DnType::CommonName, "admin\\,OU=ops")],
            vec![(DnType::CommonName, "admin+OU=ops")],
            vec![(DnType::CommonName, "admin"), (dc(), "x,OU=ops")],
            vec![(DnType::CommonName, "admin,OU=ops"), (dc(), "")],
        ] {
            let users = ["CN=admin,OU=ops", "CN=admin+OU=ops", "OU=ops,CN=admin"];
            assert_eq!(
                find(&identity(&params(&subject)), &users),
                None,
                "{subject:?}"
            );
        }
        let id = identity(&params(&[(DnType::CommonName, "admin"), (dc(), "a,DC=b")]));
        assert_eq!(find(&id, &["CN=admin,DC=a,DC=b"]), None);
    }

    #[test]
    fn values_are_text_of_whatever_encoding_or_nothing() {
        let mut wide = params(&[]);
        let bmp = rcgen::string::BmpString::try_from("é,x").unwrap();
        wide.distinguished_name
            .push(DnType::CommonName, DnValue::BmpString(bmp));
        assert_eq!(identity(&wide).subject, "CN=é\\,x");
        let mut plain = der(&params(&[(DnType::CommonName, "admin")]));
        // The same value as an OCTET STRING.
        let at = plain.windows(5).rposition(|w| w == b"admin").unwrap() - 2;
        assert_eq!(plain[at], 0x0c);
        plain[at] = 0x04;
        assert_eq!(
            Identity::from_der(&plain),
            Err(CertificateError::NotText("2.5.4.3".into()))
        );
    }

    #[test]
    fn what_is_not_a_certificate_is_refused() {
        let good = der(&params(&[(DnType::CommonName, "a")]));
        for len in 0..good.len() {
            assert!(Identity::from_der(&good[..len]).is_err(), "{len}");
        }
        let mut odd = params(&[]);
        let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![1, 2, 3]);
        odd.custom_extensions = vec![san];
        assert!(Identity::from_der(&der(&odd)).is_err());
    }
}
