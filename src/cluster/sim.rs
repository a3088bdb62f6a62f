//! Whole clusters of the machines alone, with a network that cuts connections and delays what is
//! said: whatever happens, in the end every two servers are connected by as many connections as they
//! want, and know what the other's subscribers listen to.

use super::LinkId;
use super::lanes::Spread;
use super::local::{Cursor, LocalInterest};
use super::mesh::{Action, Mesh, TargetId};
use super::remote::RemoteInterest;
use crate::accounts::Accounts;
use crate::accounts::journal::Change;
use crate::base::clock::Mono;
use crate::base::rng::Rng;
use crate::options::Options;
use crate::options::cluster::{ClusterOptions, RouteUrl};
use crate::proto::route::{Limits, Op, Parsed, Queue, Subject, parse};
use crate::proto::route::{write_subscribe, write_unsubscribe};
use crate::proto::route_info::{RouteConnect, RouteInfo};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

type Wanted = BTreeMap<(usize, String, String), u32>;

/// Accounts, of which the second has connections of its own in some clusters, and the third always
/// unless there are no pools.
const ACCOUNTS: [&str; 4] = ["$G", "A", "$SYS", "B"];

struct Server {
    id: String,
    mesh: Mesh,
    local: LocalInterest,
    remote: RemoteInterest,
    accounts: Accounts,
    /// What its own subscribers listen to: by account, subject and queue, how often.
    wanted: Wanted,
    /// Connections on which interest is told, and how far each has come.
    told: BTreeMap<LinkId, Cursor>,
}

/// A connection: its two ends by server, and what is under way to each.
struct Pipe {
    ends: [usize; 2],
    queues: [VecDeque<u8>; 2],
    /// Whether each end knows that it is closed.
    closed: [bool; 2],
}

struct World {
    servers: Vec<Server>,
    pipes: BTreeMap<LinkId, Pipe>,
    next: u64,
    now: Mono,
    rng: Rng,
    /// Dials under way.
    dials: Vec<(usize, TargetId, u16)>,
}

const LIMITS: Limits = Limits {
    control_line_max: 1 << 16,
    payload_max: 1 << 16,
    names_account: true,
};

impl World {
    fn new(count: u16, seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let mut servers = Vec::new();
        for i in 0..count {
            let mut routes = Vec::new();
            // Everybody knows the first, some know others.
            for other in 0..count {
                if other == 0 || rng.below(3) == 0 {
                    routes
                        .push(RouteUrl::parse(&format!("nats://10.0.0.1:{}", other + 1)).unwrap());
                }
            }
            let options = ClusterOptions {
                name: (rng.below(3) > 0).then(|| "c".into()),
                routes,
                connect_retries: 1000,
                pool_size: [0, 1, 3, 3][rng.below(4)],
                accounts: match seed % 2 {
                    0 => Vec::new(),
                    _ => vec!["A".into()],
                },
                ..ClusterOptions::default()
            };
            let id = format!("N{:03}", (i * 7 + 3) % 101);
            let name = format!("s{i}");
            let made_up = format!("dynamic{}", rng.below(1000));
            let spread = Spread::new(&options, Some("$SYS"));
            let own = (options, spread);
            servers.push(Server {
                mesh: Mesh::new((&id, &name), own, made_up, rng.next_u64(), Mono::ZERO),
                id,
                local: LocalInterest::new(rng.next_u64()),
                remote: RemoteInterest::new(rng.next_u64()),
                accounts: Accounts::new(&Options::default(), None, rng.next_u64()).unwrap(),
                wanted: BTreeMap::new(),
                told: BTreeMap::new(),
            });
        }
        World {
            servers,
            pipes: BTreeMap::new(),
            next: 0,
            now: Mono::ZERO,
            rng,
            dials: Vec::new(),
        }
    }

    /// The two ends of a connection have names of their own, an even and an odd one.
    fn pipe(link: LinkId) -> LinkId {
        LinkId(link.0 & !1)
    }

    fn send(&mut self, from: usize, link: LinkId, bytes: &[u8]) {
        let end = usize::from(link.0 % 2 == 1);
        if let Some(pipe) = self.pipes.get_mut(&Self::pipe(link)) {
            debug_assert_eq!(pipe.ends[end], from);
            pipe.queues[1 - end].extend(bytes);
        }
    }

    fn close(&mut self, server: usize, link: LinkId) {
        let end = usize::from(link.0 % 2 == 1);
        let Some(pipe) = self.pipes.get_mut(&Self::pipe(link)) else {
            return;
        };
        if std::mem::replace(&mut pipe.closed[end], true) {
            return;
        }
        let own = &mut self.servers[server];
        own.mesh.closed(link, self.now);
        own.remote.drop_link(link);
        own.remote.bury(usize::MAX);
        own.told.remove(&link);
    }

    fn connect(&mut self, server: usize, link: LinkId) {
        let own = &self.servers[server];
        let mut out = Vec::new();
        let connect = RouteConnect {
            cluster: own.mesh.cluster().into(),
            dynamic: own.mesh.is_dynamic(),
            name: own.id.clone(),
            ..RouteConnect::default()
        };
        connect.write(&mut out);
        self.send(server, link, &out);
    }

    fn introduce(&mut self, server: usize, link: LinkId) {
        let own = &self.servers[server];
        let mut out = Vec::new();
        let account = own.mesh.account(link);
        let info = RouteInfo {
            server_id: own.id.clone(),
            server_name: format!("s{server}"),
            host: "10.0.0.1".into(),
            port: u16::try_from(server).unwrap() + 1,
            cluster: own.mesh.cluster().into(),
            cluster_dynamic: own.mesh.is_dynamic(),
            gossip_mode: own.mesh.gossip_mode(link),
            route_pool_size: own.mesh.spread().size().into(),
            route_pool_idx: own.mesh.lane(link).map_or(0, |lane| lane.index()),
            route_account: account.map_or(String::new(), |name| name.to_string()),
            ..RouteInfo::default()
        };
        info.write(&mut out);
        self.send(server, link, &out);
    }

    fn act(&mut self, server: usize) {
        loop {
            let actions = self.servers[server].mesh.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Dial(target, url) => self.dials.push((server, target, url.port)),
                    Action::Register(link) => {
                        // It may be gone again.
                        let own = &mut self.servers[server];
                        if own.mesh.lane(link).is_some() {
                            own.told.insert(link, Cursor::START);
                        }
                    }
                    Action::Close(link, _) => self.close(server, link),
                    Action::Moved(_) => {}
                    Action::Forward(link, info) | Action::Agree(link, info) => {
                        let mut out = Vec::new();
                        info.write(&mut out);
                        self.send(server, link, &out);
                    }
                    Action::Review(_) | Action::Renamed | Action::Changed => {}
                }
            }
        }
    }

    /// A connection attempt ends.
    fn dial(&mut self, fails: bool) {
        if self.dials.is_empty() {
            return;
        }
        let at = self.rng.below(self.dials.len());
        let (server, target, port) = self.dials.swap_remove(at);
        if fails {
            self.servers[server].mesh.dial_failed(target, self.now);
            return self.act(server);
        }
        let other = usize::from(port) - 1;
        let (mine, theirs) = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        self.pipes.insert(
            mine,
            Pipe {
                ends: [server, other],
                queues: Default::default(),
                closed: [false; 2],
            },
        );
        let ip = "10.0.0.1".parse().unwrap();
        assert!(self.servers[server].mesh.opened(mine, Some(target), ip));
        assert!(self.servers[other].mesh.opened(theirs, None, ip));
        self.connect(server, mine);
        self.introduce(other, theirs);
    }

    /// One end of a connection gets some of what is under way, or that it is closed.
    fn deliver(&mut self) {
        let links: Vec<LinkId> = self.pipes.keys().copied().collect();
        if links.is_empty() {
            return;
        }
        let pipe_id = links[self.rng.below(links.len())];
        let end = self.rng.below(2);
        let link = LinkId(pipe_id.0 + end as u64);
        let pipe = &mut self.pipes.get_mut(&pipe_id).unwrap();
        let server = pipe.ends[end];
        if pipe.closed[end] {
            if pipe.closed[1 - end] {
                self.pipes.remove(&pipe_id);
            }
            return;
        }
        let queue = &mut pipe.queues[end];
        if queue.is_empty() {
            if pipe.closed[1 - end] {
                self.close(server, link);
                self.act(server);
            }
            return;
        }
        let bytes: Vec<u8> = queue.iter().copied().collect();
        let Parsed::Op(op, used) = parse(&bytes, &LIMITS) else {
            panic!("{:?}", String::from_utf8_lossy(&bytes));
        };
        queue.drain(..used);
        let own = &mut self.servers[server];
        let (mut introduces, mut answers) = (false, false);
        let refused = match op {
            Op::Connect(args) => {
                let connect = RouteConnect::read(args).unwrap();
                own.mesh.handle_connect(link, &connect).is_err()
            }
            Op::Info(args) => {
                let info = RouteInfo::read(args).unwrap();
                let is_new = own.mesh.lane(link).is_none();
                let refused = own.mesh.handle_info(link, info, self.now).is_err();
                introduces = is_new && !refused && own.mesh.is_solicited(link);
                refused
            }
            Op::Subscribe(to, queue) => {
                own.remote
                    .subscribe(link, &to, queue, &own.accounts)
                    .unwrap();
                false
            }
            Op::Unsubscribe(to, queue) => {
                own.remote.unsubscribe(link, &to, queue);
                false
            }
            Op::Ping => {
                answers = true;
                false
            }
            Op::Pong => {
                own.mesh.handle_pong(link, self.now);
                false
            }
            _ => false,
        };
        if refused {
            self.close(server, link);
        }
        if introduces {
            self.introduce(server, link);
        }
        self.act(server);
        if introduces {
            self.send(server, link, b"PING\r\n");
        }
        if answers {
            self.send(server, link, b"PONG\r\n");
        }
    }

    /// A client of some server subscribes or unsubscribes.
    fn churn(&mut self) {
        let server = self.rng.below(self.servers.len());
        let subject = format!("a.{}", self.rng.below(12));
        let account = self.rng.below(ACCOUNTS.len());
        let queue = ["", "q", "r"][self.rng.below(3)];
        let began = self.rng.below(2) == 0;
        let own = &mut self.servers[server];
        let count = own
            .wanted
            .entry((account, subject.clone(), queue.into()))
            .or_default();
        if !began && *count == 0 {
            return;
        }
        *count = if began { *count + 1 } else { *count - 1 };
        own.local.note(&Change {
            account: u32::try_from(account).unwrap(),
            subject: subject.as_bytes(),
            queue: (!queue.is_empty()).then_some(queue.as_bytes()),
            began,
        });
    }

    /// A server tells what has changed.
    fn tell(&mut self, server: usize) {
        let mut out: Vec<(LinkId, Vec<u8>)> = Vec::new();
        let own = &mut self.servers[server];
        let say = |told: &super::local::Told<'_>, out: &mut Vec<u8>| {
            let to = Subject {
                account: ACCOUNTS[told.account as usize].as_bytes(),
                subject: told.subject,
            };
            let weight = told.count;
            match told.count {
                0 => write_unsubscribe(out, &to, told.queue),
                _ => write_subscribe(out, &to, told.queue.map(|name| Queue { name, weight })),
            }
        };
        let cursors = own.told.clone();
        let mesh = &own.mesh;
        let carries = |link: LinkId, told: &super::local::Told<'_>| {
            let account = ACCOUNTS[told.account as usize].as_bytes();
            let lane = mesh.lane(link).unwrap();
            lane.carries(account, mesh.spread().home(account))
        };
        own.local.tell_changes(|told| {
            for (link, cursor) in cursors.iter().filter(|(_, c)| told.concerns(**c)) {
                assert!(*cursor > Cursor::START);
                if !carries(*link, told) {
                    continue;
                }
                let mut line = Vec::new();
                say(told, &mut line);
                out.push((*link, line));
            }
        });
        for (link, cursor) in &mut own.told {
            if *cursor < Cursor::END {
                let mut line = Vec::new();
                *cursor = own.local.tell_next(*cursor, 3, |told| {
                    if carries(*link, told) {
                        say(told, &mut line);
                    }
                });
                out.push((*link, line));
            }
        }
        for (link, line) in out {
            self.send(server, link, &line);
        }
    }

    fn step(&mut self, calm: bool) {
        self.now = self.now + Duration::from_millis(self.rng.below(30) as u64);
        match self.rng.below(if calm { 12 } else { 16 }) {
            0..=1 => {
                for server in 0..self.servers.len() {
                    self.servers[server].mesh.handle_timer(self.now);
                    self.act(server);
                }
            }
            2 => {
                let fails = !calm && self.rng.below(4) == 0;
                self.dial(fails);
            }
            3..=4 => {
                let server = self.rng.below(self.servers.len());
                self.tell(server);
            }
            5..=11 => self.deliver(),
            12 => {
                let links: Vec<LinkId> = self.pipes.keys().copied().collect();
                if let Some(link) = links.get(self.rng.below(links.len() * 6 + 1)) {
                    let end = self.rng.below(2);
                    let server = self.pipes[link].ends[end];
                    self.close(server, LinkId(link.0 + end as u64));
                    self.act(server);
                }
            }
            _ => self.churn(),
        }
    }

    /// What a server knows of another one's subscribers, each from one connection.
    fn view(&self, server: usize, of: &str) -> Result<Wanted, String> {
        let own = &self.servers[server];
        let mut view = Wanted::new();
        for link in own.mesh.links(of) {
            for sub in own.remote.of(link) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let account = text(sub.account_name());
                let account = ACCOUNTS.iter().position(|name| *name == account).unwrap();
                let queue = text(sub.queue().unwrap_or_default());
                let key = (account, text(sub.subject()), queue);
                if view.insert(key.clone(), sub.weight).is_some() {
                    return Err(format!("{key:?} is told twice"));
                }
            }
        }
        Ok(view)
    }

    /// How many connections two servers want.
    fn connections(&self, one: usize, other: usize) -> usize {
        let spread = |server: usize| self.servers[server].mesh.spread();
        let sizes = [spread(one).size(), spread(other).size()];
        match sizes.into_iter().min() {
            None | Some(0) => 1,
            Some(_) => *sizes.iter().max().unwrap() as usize + spread(one).dedicated().len(),
        }
    }

    fn is_settled(&self) -> Result<(), String> {
        let count = self.servers.len();
        let mut connections = 0;
        for (i, server) in self.servers.iter().enumerate() {
            let peers = server.mesh.peers().count();
            if peers != count - 1 {
                return Err(format!("{i} has {peers} peers"));
            }
            for (j, other) in self.servers.iter().enumerate().filter(|(j, _)| *j != i) {
                let links = server.mesh.links(&other.id).count();
                let want = self.connections(i, j);
                if links != want {
                    return Err(format!("{i} has {links} connections with {j}, not {want}"));
                }
                connections += want;
                let mut wanted = other.wanted.clone();
                wanted.retain(|_, count| *count > 0);
                for ((_, _, queue), count) in &mut wanted {
                    if queue.is_empty() {
                        *count = 1;
                    }
                }
                let view = self.view(i, &other.id)?;
                if view != wanted {
                    return Err(format!("{i} sees {view:?} of {j}, not {wanted:?}"));
                }
            }
        }
        let pipes = self.pipes.values();
        let open = pipes.filter(|p| p.closed == [false; 2]).count();
        if open != connections / 2 {
            return Err(format!("{open} connections"));
        }
        Ok(())
    }
}

#[test]
fn clusters_find_together_and_agree_whatever_happened_before() {
    let first = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok());
    let count = std::env::var("SIM_COUNT").ok().and_then(|s| s.parse().ok());
    let seeds = match (first, count) {
        (None, count) => 0..count.unwrap_or(128),
        (Some(seed), count) => seed..seed + count.unwrap_or(1),
    };
    for seed in seeds {
        let mut world = World::new(2 + u16::try_from(seed % 4).unwrap(), seed);
        for _ in 0..3000 {
            world.step(false);
        }
        let mut last = Err(String::new());
        for _ in 0..200 {
            for _ in 0..400 {
                world.step(true);
            }
            last = world.is_settled();
            if last.is_ok() {
                break;
            }
        }
        assert_eq!(last, Ok(()), "seed {seed}");
    }
}

/// The one that gives way may look at a password first, and has to find the connection then.
#[test]
fn a_greater_name_is_waited_for_by_who_connects() {
    let options = ClusterOptions {
        routes: vec![RouteUrl::parse("nats://10.0.0.1:1").unwrap()],
        ..ClusterOptions::default()
    };
    let spread = Spread::new(&options, None);
    let own = (options, spread);
    let mut mesh = Mesh::new(("NB", "b"), own, "made-up-b".into(), 1, Mono::ZERO);
    mesh.handle_timer(Mono::ZERO + Duration::from_secs(1));
    let Some(Action::Dial(target, _)) = mesh.take_actions().pop() else {
        panic!("it does not connect");
    };
    let ip = "10.0.0.1".parse().unwrap();
    assert!(mesh.opened(LinkId(2), Some(target), ip) && mesh.opened(LinkId(3), None, ip));
    let mut check = |link, cluster: &str, cluster_dynamic| {
        let info = RouteInfo {
            server_id: "NA".into(),
            server_name: "a".into(),
            cluster: cluster.into(),
            cluster_dynamic,
            ..RouteInfo::default()
        };
        mesh.check_info(LinkId(link), &info).is_ok()
    };
    assert!(check(2, "made-up-a", true));
    assert!(!check(3, "made-up-a", true));
    // This one gives way, and then keeps to what is configured.
    assert!(check(2, "made-up-c", true) && check(2, "a", false));
    assert!(!check(2, "b", false) && !check(3, "b", true));
    assert!(check(2, "b", true));
    assert_eq!((mesh.cluster(), mesh.is_dynamic()), ("a", false));
}

/// A server whose connection for an account comes first is told of as others are, as soon as it can be:
/// who hears of the account alone makes that connection alone.
#[test]
fn a_server_is_told_of_whatever_connection_comes_first() {
    let options = ClusterOptions {
        name: Some("c".into()),
        pool_size: 3,
        accounts: vec!["A".into()],
        ..ClusterOptions::default()
    };
    let spread = Spread::new(&options, None);
    let mut mesh = Mesh::new(("N", "n"), (options, spread), "m".into(), 1, Mono::ZERO);
    let mut introduce = |link, id: &str, route_account: &str| {
        let link = LinkId(link);
        mesh.opened(link, None, "10.0.0.1".parse().unwrap());
        let info = RouteInfo {
            server_id: id.into(),
            server_name: id.into(),
            cluster: "c".into(),
            port: 1,
            route_pool_size: 3,
            route_account: route_account.into(),
            ..RouteInfo::default()
        };
        mesh.handle_info(link, info, Mono::ZERO).unwrap();
        let told = mesh.take_actions().into_iter();
        let told = told.filter_map(|action| match action {
            Action::Forward(to, info) => Some((to.0, info.server_id, info.route_account)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let told = |account: &str| vec![(1, "NY".to_owned(), account.to_owned())];
    assert_eq!(introduce(1, "NX", ""), []);
    assert_eq!(introduce(3, "NY", "A"), told("A"));
    assert_eq!(introduce(5, "NY", ""), told(""));
}
