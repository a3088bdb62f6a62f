//! An official client that says who it is, by all the means that it has, in plain text and over
//! TLS.

use crate::support::Process;
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A user's key pair, made for this test.
const SEED: &str = "SUACUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKRKFIVCUKTGMM";
const PUBLIC: &str = "UAMX62ZD4FWIKMWGVPEDR6WNL2TYTPQMO2ZJEAZUAON7VCZ5G2GWCXLM";

/// A directory with a configuration and certificates, gone with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, conf: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("nats-it-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let files = Files(dir);
        let conf = conf.replace("DIR", files.0.to_str().unwrap());
        files.write("server.conf", &conf);
        files.certify();
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// An authority, a certificate of the server, and one of a client.
    fn certify(&self) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Tests");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        self.write("ca.pem", &authority.pem());
        for (name, host) in [("server", "127.0.0.1"), ("client", "client.example")] {
            let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            self.write(&format!("{name}.pem"), &certificate.pem());
            self.write(&format!("{name}-key.pem"), &key.serialize_pem());
        }
    }

    fn start(&self) -> Process {
        Process::start(&["-c", self.0.join("server.conf").to_str().unwrap()])
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether what one client publishes comes to the other.
async fn hears(from: &Client, to: &Client) -> bool {
    let mut sub = to.subscribe("talk").await.unwrap();
    to.flush().await.unwrap();
    // The answer to a request that nobody takes shows that the subscription is there.
    let _ = to.request("nobody", "".into()).await;
    from.publish("talk", "hi".into()).await.unwrap();
    let _ = from.request("nobody", "".into()).await;
    let _ = to.request("nobody", "".into()).await;
    timeout(Duration::from_millis(300), sub.next())
        .await
        .is_ok_and(|message| message.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keys_and_tokens() {
    let hash = bcrypt::hash("hashed", 4).unwrap();
    let files = Files::new(
        "official-users",
        &format!(
            "accounts {{\n  A {{ users: [{{user: a, password: a}}, {{user: h, password: \"{hash}\"}}] }}\n  \
             B {{ users: [{{nkey: {PUBLIC}}}] }}\n}}\n"
        ),
    );
    let server = files.start();
    let url = server.addr.to_string();
    let user = |name: &str, password: &str| {
        ConnectOptions::with_user_and_password(name.into(), password.into()).connect(url.clone())
    };
    let (a, h) = (
        user("a", "a").await.unwrap(),
        user("h", "hashed").await.unwrap(),
    );
    let key = ConnectOptions::with_nkey(SEED.into())
        .connect(&url)
        .await
        .unwrap();
    assert!(hears(&a, &h).await && hears(&h, &a).await);
    assert!(!hears(&a, &key).await && !hears(&key, &a).await);
    assert!(hears(&key, &key).await);
    assert!(user("a", "b").await.is_err());
    assert!(user("h", "a").await.is_err());
    assert!(ConnectOptions::new().connect(&url).await.is_err());
    let other = "SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let stranger = ConnectOptions::with_nkey(other.into());
    assert!(stranger.connect(&url).await.is_err());

    let files = Files::new("official-token", "authorization { token: s3cret }\n");
    let server = files.start();
    let url = server.addr.to_string();
    let token = |token: &str| ConnectOptions::with_token(token.into()).connect(url.clone());
    assert!(token("s3cret").await.is_ok());
    assert!(token("secret").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates() {
    let files = Files::new(
        "official-tls",
        "tls { cert_file: \"DIR/server.pem\", key_file: \"DIR/server-key.pem\", ca_file: \"DIR/ca.pem\"\n\
         verify_and_map: true, handshake_first: auto }\n\
         accounts { A { users: [{user: client.example}] } }\n",
    );
    let server = files.start();
    let url = format!("tls://{}", server.addr);
    let file = |name: &str| files.0.join(name);
    let trusting = || ConnectOptions::new().add_root_certificates(file("ca.pem"));
    let known = || trusting().add_client_certificate(file("client.pem"), file("client-key.pem"));
    for options in [known(), known().tls_first()] {
        let (one, two) = (
            options.connect(&url).await.unwrap(),
            known().connect(&url).await.unwrap(),
        );
        assert!(hears(&one, &two).await);
    }
    assert!(trusting().connect(&url).await.is_err(), "no certificate");
    assert!(
        ConnectOptions::new().connect(&url).await.is_err(),
        "no trust"
    );
    server.wait_for("TLS handshake error");
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_told() {
    let files = Files::new(
        "official-permissions",
        "authorization { users: [{user: a, password: a, permissions: \
         {publish: [\"ok\", \"nobody\"], subscribe: [\"ok\", \"_INBOX.>\"]}}] }\n",
    );
    let server = files.start();
    let (tell, mut told) = mpsc::unbounded_channel();
    let client = ConnectOptions::with_user_and_password("a".into(), "a".into())
        .event_callback(move |event| {
            let tell = tell.clone();
            async move {
                if let Event::ServerError(error) = event {
                    let _ = tell.send(error.to_string());
                }
            }
        })
        .connect(server.addr.to_string())
        .await
        .unwrap();
    let mut next = async || {
        timeout(crate::support::PATIENCE, told.recv())
            .await
            .unwrap()
            .unwrap()
    };
    client.publish("not.ok", "".into()).await.unwrap();
    let error = next().await.to_lowercase();
    assert!(
        error.contains("permissions violation for publish to \"not.ok\""),
        "{error}"
    );
    let _sub = client.subscribe("also.not").await.unwrap();
    let error = next().await.to_lowercase();
    assert!(
        error.contains("permissions violation for subscription to \"also.not\""),
        "{error}"
    );
    let mut sub = client.subscribe("ok").await.unwrap();
    client.publish("ok", "fine".into()).await.unwrap();
    let message = timeout(crate::support::PATIENCE, sub.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.payload, "fine");
}
