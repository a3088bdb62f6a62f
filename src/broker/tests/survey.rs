//! Questions about a loop's clients, and events that tell of these.

use super::*;
use crate::base::limits::{SURVEY_BUDGET, SURVEYS_MAX};
use crate::broker::survey::*;
use crate::options::security::AccountOptions;
use std::sync::mpsc::channel;

impl Bench {
    /// What a loop answers, and in how many slices.
    fn survey(&mut self, owner: usize, question: Question) -> (Report, usize) {
        let (answer, answers) = channel();
        let broker = &mut self.brokers[owner];
        broker.ask(Survey { question, answer });
        let mut slices = 1;
        while broker.survey(self.now, &LoopFigures::default()) {
            slices += 1;
        }
        (answers.try_recv().unwrap(), slices)
    }

    fn connections(&mut self, change: impl FnOnce(&mut ConnectionsQuestion)) -> ConnectionsReport {
        let mut question = ConnectionsQuestion {
            state: State::Open,
            sort: Sort::Cid,
            pick: 1024,
            cid: None,
            user: None,
            account: None,
            subject: None,
            subscriptions: Detail::Nothing,
        };
        change(&mut question);
        match self.survey(0, Question::Connections(Arc::new(question))).0 {
            Report::Connections(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn totals(&mut self) -> Totals {
        match self.survey(0, Question::Totals).0 {
            Report::Totals(totals) => *totals,
            other => panic!("{other:?}"),
        }
    }

    fn numbered(&mut self, cid: u64) -> Peer {
        let peer = self.connect(0);
        let client = self.brokers[0].delivery.clients.get_mut(peer.1).unwrap();
        client.id = ClientId(cid);
        peer
    }
}

fn cids(report: &ConnectionsReport) -> Vec<u64> {
    report.rows.iter().map(|row| row.cid).collect()
}

#[test]
fn connections_come_in_the_order_asked_for() {
    let mut bench = Bench::new(1, |_| {});
    let peers: Vec<Peer> = (1..=5).map(|cid| bench.numbered(cid)).collect();
    for (peer, n) in peers.iter().zip([3, 0, 5, 1, 5]) {
        for _ in 0..n {
            bench.say(*peer, "PUB a 2\r\nhi\r\n");
        }
        for sid in 0..5 - n {
            bench.say(*peer, &format!("SUB x.{sid} {sid}\r\n"));
        }
    }
    let sorted = |bench: &mut Bench, sort, pick| {
        let report = bench.connections(|q| (q.sort, q.pick) = (sort, pick));
        assert_eq!(report.matching, 5);
        cids(&report)
    };
    assert_eq!(sorted(&mut bench, Sort::Cid, 9), [1, 2, 3, 4, 5]);
    assert_eq!(sorted(&mut bench, Sort::Cid, 2), [1, 2]);
    assert_eq!(sorted(&mut bench, Sort::MsgsFrom, 9), [3, 5, 1, 4, 2]);
    assert_eq!(sorted(&mut bench, Sort::BytesFrom, 3), [3, 5, 1]);
    assert_eq!(sorted(&mut bench, Sort::Subs, 9), [2, 4, 1, 3, 5]);
    assert_eq!(sorted(&mut bench, Sort::Subs, 0), [0; 0]);
    let with_subs = bench.connections(|q| {
        q.cid = Some(2);
        q.subscriptions = Detail::Everything;
    });
    assert_eq!(cids(&with_subs), [2]);
    let mut subjects: Vec<_> = with_subs.rows[0].list.iter().map(|s| &s.subject).collect();
    subjects.sort();
    assert_eq!(subjects, ["x.0", "x.1", "x.2", "x.3", "x.4"]);
    let listening = bench.connections(|q| q.subject = Some(b"x.*".to_vec()));
    assert_eq!(cids(&listening), [1, 2, 4]);
}

#[test]
fn closed_connections_are_remembered_without_their_secrets() {
    let mut bench = Bench::new(1, |options| {
        options.max_closed_clients = 2;
        options.authorization.token = Some("s3cret".into());
    });
    let mut gone = Vec::new();
    for (cid, token) in [(1, "s3cret"), (2, "s3cret"), (3, "wrong")] {
        bench.now = bench.now + Duration::from_secs(1);
        bench.brokers[0].begin_turn(bench.now);
        let peer = bench.open(0);
        bench.brokers[0]
            .delivery
            .clients
            .get_mut(peer.1)
            .unwrap()
            .id = ClientId(cid);
        bench.say(
            peer,
            &format!(
                "CONNECT {{\"auth_token\":\"{token}\",\"name\":\"n{cid}\"}}\r\nSUB a.b q 7\r\n"
            ),
        );
        bench.brokers[0].handle_end(peer.1, CloseReason::ClientClosed);
        gone.push(peer);
    }
    let closed = bench.connections(|q| {
        q.state = State::Closed;
        q.subscriptions = Detail::Everything;
    });
    assert_eq!(cids(&closed), [2, 3], "only the newest are remembered");
    let row = &closed.rows[0];
    assert_eq!(row.end.unwrap().1, CloseReason::ClientClosed);
    assert_eq!(
        (&*row.user, &*row.account, &*row.name),
        ("[REDACTED]", "$G", "n2")
    );
    assert_eq!((row.subscriptions, &*row.list[0].subject), (1, "a.b"));
    assert_eq!((&*row.list[0].queue, &*row.list[0].sid), ("q", "7"));
    let row = &closed.rows[1];
    assert_eq!(row.end.unwrap().1, CloseReason::AuthenticationViolation);
    assert_eq!(row.account, "", "it was not let in");
    assert!(!format!("{closed:?}").contains("s3cret"));
    let newest = bench.connections(|q| (q.state, q.sort) = (State::Closed, Sort::Stop));
    assert_eq!(cids(&newest), [3, 2]);
    let by_reason = bench.connections(|q| (q.state, q.sort) = (State::Closed, Sort::Reason));
    assert_eq!(cids(&by_reason), [3, 2], "A comes before C");
    let totals = bench.totals();
    assert_eq!((totals.connections, totals.connections_ever), (0, 3));
    assert_eq!(totals.closed.iter().map(|(_, n)| n).sum::<u64>(), 3);
}

#[test]
fn work_is_done_in_slices() {
    let mut bench = Bench::new(1, |_| {});
    let many = SURVEY_BUDGET as u64 * 2 + 10;
    for cid in 1..=many {
        bench.numbered(cid);
    }
    let (report, slices) = bench.survey(0, Question::Totals);
    let Report::Totals(totals) = report else {
        panic!("{report:?}");
    };
    assert_eq!(totals.connections as u64, many);
    assert_eq!(totals.accounts[0].connections as u64, many);
    assert!(slices >= 3, "{slices}");
    let all = bench.connections(|q| q.pick = usize::MAX);
    assert_eq!(cids(&all), (1..=many).collect::<Vec<_>>());
    // Too many questions at a time are refused, and the others answered.
    let (answer, answers) = channel();
    for _ in 0..SURVEYS_MAX + 3 {
        let (question, answer) = (Question::Totals, answer.clone());
        bench.brokers[0].ask(Survey { question, answer });
    }
    while bench.brokers[0].survey(bench.now, &LoopFigures::default()) {}
    let reports: Vec<_> = answers.try_iter().collect();
    let refused = reports.iter().filter(|r| matches!(r, Report::Refused));
    assert_eq!((reports.len(), refused.count()), (SURVEYS_MAX + 3, 3));
}

#[test]
fn subscriptions_are_listed_by_account_and_test() {
    let mut bench = Bench::new(1, |options| {
        let user = crate::broker::login_tests::user("u", "p");
        options.accounts = vec![AccountOptions {
            name: "A".into(),
            users: vec![user],
            ..AccountOptions::default()
        }];
        options.no_auth_user = Some("u".into());
    });
    let peer = bench.connect(0);
    for (sid, subject) in ["a.b", "a.*", "b", ">"].iter().enumerate() {
        bench.say(peer, &format!("SUB {subject} {sid}\r\n"));
    }
    let mut list = |account: Option<&str>, test: Option<&str>, pick| {
        let question = SubscriptionsQuestion {
            account: account.map(Into::into),
            test: test.map(Into::into),
            within: None,
            queue: None,
            pick,
        };
        match bench
            .survey(0, Question::Subscriptions(Arc::new(question)))
            .0
        {
            Report::Subscriptions(report) => report,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(None, None, 9).rows.len(), 4);
    assert_eq!(list(Some("A"), None, 2).rows.len(), 2);
    assert_eq!(list(Some("A"), None, 2).matching, 4);
    assert_eq!(list(Some("$G"), None, 9).matching, 0);
    let tested = list(None, Some("a.b"), 9);
    let subjects: Vec<_> = tested.rows.iter().map(|r| &*r.subject).collect();
    assert_eq!(subjects, ["a.b", "a.*", ">"]);
    assert_eq!(&*tested.rows[0].account, "A");
}

#[test]
fn operators_send_clients_away() {
    let mut bench = Bench::new(1, |_| {});
    let peer = bench.numbered(7);
    assert!(matches!(
        bench.survey(0, Question::LameDuck(7)).0,
        Report::NotReady
    ));
    bench.say(
        peer,
        "CONNECT {\"protocol\":1,\"verbose\":false}\r\nPING\r\n",
    );
    bench.read(peer);
    assert!(matches!(
        bench.survey(0, Question::LameDuck(7)).0,
        Report::Done(true)
    ));
    assert!(bench.read(peer).contains("\"ldm\":true"));
    let report = bench.survey(0, Question::Kick(8)).0;
    assert!(matches!(report, Report::Done(false)));
    let report = bench.survey(0, Question::Kick(7)).0;
    assert!(matches!(report, Report::Done(true)));
    assert_eq!(bench.closed(peer), Some(CloseReason::Kicked));
}

/// A listener that is closed because of what it is told is told of itself, to the others.
#[test]
fn who_is_closed_by_an_event_is_told_of_too() {
    let mut bench = Bench::new(1, |options| {
        options.max_pending = 4096;
        options.system_account = Some("$G".into());
    });
    let (slow, other) = (bench.connect(0), bench.connect(0));
    for peer in [slow, other] {
        bench.say(peer, "SUB $SYS.ACCOUNT.> 1\r\n");
        bench.read(peer);
    }
    bench.stick(slow);
    let mut closed = None;
    for _ in 0..50 {
        let peer = bench.connect(0);
        bench.say(peer, "PING\r\n");
        closed = closed.or(bench.closed(slow));
        let heard = bench.read(other);
        if heard.contains("Slow Consumer") {
            assert!(matches!(
                closed,
                Some(CloseReason::SlowConsumerPendingBytes)
            ));
            return;
        }
    }
    panic!("nobody was told of {closed:?}");
}
