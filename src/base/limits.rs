//! Every fixed bound of the server, with its unit and where it comes from. What an operator can
//! set is in `options` instead.

use std::time::Duration;

/// Bytes of one read: small enough for the second-level cache, large enough that big flows need
/// few system calls. Measured: half of it costs 1-1-64k 10 %, twice as much gains nothing below.
pub const READ_BUFFER: usize = 256 << 10;

/// Bytes left in a read buffer, behind payloads that are still referenced, for it to be read into
/// again instead of being set aside.
pub const READ_BUFFER_REST_MIN: usize = 64 << 10;

/// Read buffers kept for reuse, a loop.
pub const READ_BUFFERS_KEPT: usize = 8;

/// Bytes read from one connection before the others get their turn.
pub const READ_BUDGET: usize = 1 << 20;

/// How old a turn may be for a connection to be read from a second time in it.
pub const TURN_BUDGET: Duration = Duration::from_millis(2);

/// Time spent on one read from which on less is read at a time from that connection, and down to
/// how many bytes. A million new subscriptions otherwise make everybody else wait for 25 ms.
pub const READ_TIME_MAX: Duration = Duration::from_millis(3);
pub const READ_ROOM_MIN: usize = 64 << 10;

/// Bytes read at a time from a connection that speaks TLS, before they are decrypted: few enough to
/// be in the second-level cache still.
pub const CIPHER_BUFFER: usize = 64 << 10;

/// Time a turn that goes into handshakes, which cost up to a millisecond each; one is always begun.
/// Those who are connected wait for it.
pub const HANDSHAKE_BUDGET: Duration = Duration::from_millis(2);

/// How often the log tells how many handshakes were refused.
pub const REFUSED_REPORT: Duration = Duration::from_secs(1);

/// Connections accepted before the others get their turn.
pub const ACCEPT_BUDGET: usize = 8;

/// Time that is spent a turn on connections of which it is not known yet who they are.
pub const STRANGERS_BUDGET: Duration = Duration::from_micros(100);

/// Timers that are looked after a turn.
pub const TIMER_BUDGET: usize = 8;

/// Connections waiting to be accepted, in the kernel. With fewer, a storm overflows the queue and
/// clients repeat their SYN a second later.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Bytes of a connection's first outbound chunk while it has little to say: enough for INFO.
/// Thousands of them are in use at once when many idle connections are answered in one turn.
pub const CHUNK_SMALL: usize = 1 << 10;

/// Bytes of an outbound chunk.
pub const CHUNK: usize = 64 << 10;

/// Payload bytes from which a message to one target is referenced instead of copied.
pub const SHARE_ONE: usize = 2 << 10;

/// Payload bytes from which a message to several targets is referenced instead of copied.
pub const SHARE_MANY: usize = 1 << 10;

/// Pending bytes at which a connection is flushed within a turn, while they are in the cache: a
/// little less than a chunk, so that they are written in one piece.
pub const FLUSH_EARLY: usize = 56 << 10;

/// Buffers handed to one vectored write.
pub const WRITE_SLICES: usize = 64;

/// Bytes of unfinished commands that all connections of a loop which have not yet completed any
/// command may hold together, once each holds more than its share.
pub const GREETING_BYTES: usize = 16 << 20;

/// Bytes that a connection which has not yet completed any command may hold at any time.
pub const GREETING_SHARE: usize = 16 << 10;

/// Bytes collected for another loop that are sent on within a turn.
pub const BATCH_BYTES: usize = 1 << 20;

/// Bytes under way to another loop at which producers that feed it are held back.
pub const INBOX_BYTES: usize = 16 << 20;

/// Bytes that pull requests of all consumers of an account may hold while they wait, some hundred
/// thousands of them, whatever number each of its consumers allows.
pub const PULL_REQUEST_BYTES: usize = 64 << 20;

/// How long a producer is held back at a time when all that it feeds is behind.
pub const HOLD_BACK: Duration = Duration::from_millis(10);

/// Bytes read from a producer between two times that it is held back.
pub const HOLD_BACK_BUDGET: usize = 64 << 10;

/// How long a closed connection's input is drained, so that the error sent to it is not lost in a
/// reset, and how many bytes of it.
pub const LINGER: Duration = Duration::from_secs(1);
pub const LINGER_BYTES: usize = 8 << 20;

/// How long, in all, what was queued for a closed connection is written while that makes progress;
/// and at the server's shutdown.
pub const LAST_WORDS: Duration = Duration::from_secs(60);
pub const LAST_WORDS_AT_SHUTDOWN: Duration = Duration::from_secs(1);

/// Subscriptions of closed connections removed a turn.
pub const REAP_BUDGET: usize = 4096;

/// Connections, or subscriptions, that are looked at a turn for a question about them; and those of
/// them that are told of in full.
pub const SURVEY_BUDGET: usize = 512;
pub const SURVEY_ROWS: usize = 64;

/// How long monitoring waits for the loops to answer.
pub const SURVEY_PATIENCE: Duration = Duration::from_secs(2);

/// Questions that a loop works on or has waiting; more are not answered.
pub const SURVEYS_MAX: usize = 64;

/// Requests of the system account that wait to be answered; more are dropped.
pub const SYSTEM_REQUESTS: usize = 4096;

/// Requests of the system account at a time whose answers take long.
pub const SERVICE_THREADS: usize = 4;

/// Subscriptions of a closed connection that are remembered.
pub const CLOSED_SUBSCRIPTIONS: usize = 100;

/// Clients that are sent another INFO a turn, at most.
pub const INFORM_BUDGET: usize = 256;

/// Passwords that may wait for being compared with their hashes.
pub const VERIFICATIONS_MAX: usize = 65536;

/// The first pause after accepting failed for want of descriptors or memory, and the longest.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The first PING to a client comes this long after its CONNECT, plus up to a fifth.
pub const FIRST_PING: Duration = Duration::from_secs(2);

/// The round trip time is measured again after this long.
pub const RTT_INTERVAL: Duration = Duration::from_secs(3600);

/// Routes kept by a loop's cache, and the tags of its doorkeeper. Powers of two.
pub const ROUTE_CACHE: usize = 4096;
pub const DOORKEEPER: usize = 16384;

/// Buckets of interest generations, by first subject token. A power of two.
pub const GENERATIONS: usize = 1024;

/// Decisions about subjects that a connection published to which are kept for the next time, and
/// bytes of these subjects.
pub const PUBLISH_CACHE: usize = 1024;
pub const PUBLISH_CACHE_BYTES: usize = 64 << 10;

/// Requests that a connection may still answer where its permissions allow just that, and bytes of
/// their reply subjects. The oldest are forgotten first.
pub const REPLY_GRANTS: usize = 65_536;
pub const REPLY_GRANT_BYTES: usize = 16 << 20;

/// Accounts that a message may pass through by way of services, and deliveries to accounts that
/// one published message may cause.
pub const EXCHANGE_HOPS: usize = 64;
pub const EXCHANGE_CALLS: usize = 4096;

/// Bytes that unanswered requests of one account to another may take.
pub const REPLIES_BYTES: usize = 32 << 20;

/// How often pending answers are looked at: whether anybody still waits for them first after
/// this long, then at doubling intervals; and the shortest time between two looks, with the number
/// of answers looked at in each.
pub const REPLIES_CHECK: Duration = Duration::from_secs(1);
pub const REPLIES_PAUSE: Duration = Duration::from_millis(10);
pub const REPLIES_BUDGET: usize = 1024;

/// Connections for monitoring. Beyond, the one that has been idle longest is closed for a new one.
pub const MONITOR_CONNECTIONS: usize = 1024;

/// Bytes of a request's head, and how many headers it may have.
pub const MONITOR_HEAD: usize = 16 << 10;
pub const MONITOR_HEADERS: usize = 100;

/// Bytes of a request's body that are read and thrown away; and of a line between its chunks.
pub const MONITOR_BODY: usize = 64 << 10;
pub const MONITOR_LINE: usize = 1 << 10;

/// Bytes read at a time from a connection for monitoring.
pub const MONITOR_READ: usize = 4 << 10;

/// Time within which a request must be complete, and how long a connection may wait for the next.
/// Scrapers come back every minute or so.
pub const MONITOR_REQUEST_TIME: Duration = Duration::from_secs(10);
pub const MONITOR_IDLE_TIME: Duration = Duration::from_secs(120);

/// Requests that are answered at a time, a thread each; requests that wait for one of these
/// threads, and how long.
pub const MONITOR_WORKERS: usize = 4;
pub const MONITOR_QUEUE: usize = 64;
pub const MONITOR_QUEUE_TIME: Duration = Duration::from_secs(10);

/// Bytes of a response that wait for one client; of all clients together, from where on each may
/// have only the smaller number.
pub const MONITOR_AHEAD: usize = 1 << 20;
pub const MONITOR_AHEAD_TOTAL: usize = 16 << 20;
pub const MONITOR_AHEAD_MIN: usize = 16 << 10;

/// How long a client may take nothing of a response, and for all of it; and how long it may leave
/// [`MONITOR_AHEAD`] bytes waiting while others wait for the thread that it holds.
pub const MONITOR_WRITE_STALL: Duration = Duration::from_secs(10);
pub const MONITOR_WRITE_TIME: Duration = Duration::from_secs(120);
pub const MONITOR_HOLD_TIME: Duration = Duration::from_secs(2);

/// Requests of one connection that are answered before the others get their turn.
pub const MONITOR_TURN: usize = 16;

/// How long after a failure another attempt is made to set up what answers requests.
pub const MONITOR_RETRY: Duration = Duration::from_secs(1);

/// How long requests that are being answered may take when the server shuts down.
pub const MONITOR_LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long connecting to another server may take, and how long until that is tried again; the
/// second doubles up to the third where that is asked for. And up to how many milliseconds more, by
/// chance.
pub const ROUTE_DIAL: Duration = Duration::from_secs(1);
pub const ROUTE_RETRY: Duration = Duration::from_secs(1);
pub const ROUTE_BACKOFF_MAX: Duration = Duration::from_secs(30);
pub const ROUTE_JITTER_MS: usize = 100;

/// How long after a second connection with a server of the reference it is decided which one stays; and
/// how long the server waits for that whose part it is not to decide.
pub const ROUTE_DECIDE: Duration = Duration::from_millis(500);
pub const ROUTE_DECIDE_LATE: Duration = Duration::from_secs(5);

/// Servers that this one may want to connect to, and connections to servers at a time, among them
/// those of which it is not known yet who they are.
pub const ROUTE_TARGETS: usize = 4096;
pub const ROUTE_LINKS: usize = 8192;
pub const ROUTE_STRANGERS: usize = 256;

/// Numbers of an account's clients on other servers that are remembered, and for how long if nothing
/// more is heard; they are told every half minute.
pub const ELSEWHERE: usize = 1 << 16;
pub const ELSEWHERE_TIME: Duration = Duration::from_secs(95);

/// Connections in a pool with another server, besides those for one account each.
pub const ROUTE_POOL_MAX: u32 = 256;

/// Attempts to connect to other servers that are under way at a time.
pub const ROUTE_DIALS: usize = 16;

/// How long a server has to say who it is, unless the options say so.
pub const ROUTE_HANDSHAKE: Duration = Duration::from_secs(5);

/// Bytes read from a server a turn; subjects that a new server is told of a turn, as long as no more
/// than so many bytes wait to be written to it; and those of servers that are gone that are forgotten.
pub const ROUTE_READ_BUDGET: usize = 1 << 20;
pub const ROUTE_TELL_BUDGET: u32 = 4096;
pub const ROUTE_TELL_ROOM: usize = 256 << 10;
pub const ROUTE_BURY_BUDGET: usize = 4096;

/// Subjects of one server that monitoring lists.
pub const ROUTE_LISTED: usize = 100_000;

/// Control lines of routes may be so many times as long as those of clients.
pub const ROUTE_LINE_FACTOR: usize = 16;

/// Bytes that what is told of one traced message may take, about, and those of its headers that are
/// told with it. What does not fit is left out.
pub const TRACE_BYTES: usize = 1 << 20;
pub const TRACE_HEADER_BYTES: usize = 64 << 10;

/// Bytes of configuration that are read: all files together, and values of variables.
pub const CONFIG_BYTES: usize = 64 << 20;

/// How deep maps and arrays of the configuration may be nested, over all includes.
pub const CONFIG_DEPTH: usize = 128;

/// How deep includes may be nested, or environment variables that stand for each other, and how
/// many includes there may be.
pub const CONFIG_INCLUDE_DEPTH: usize = 16;
pub const CONFIG_INCLUDES: usize = 4096;

/// How much variables may stand for, all together: a value counts one, and one more for each 64
/// bytes of its text.
pub const CONFIG_COPIES: usize = 1 << 20;

/// Errors of a configuration that are told.
pub const CONFIG_FAULTS: usize = 100;

const _: () = assert!(ROUTE_CACHE.is_power_of_two() && DOORKEEPER.is_power_of_two());
const _: () = assert!(GENERATIONS.is_power_of_two());
const _: () = assert!(READ_BUFFER_REST_MIN <= READ_BUFFER && READ_BUFFER <= READ_BUDGET);
const _: () = assert!(CHUNK_SMALL < CHUNK && SHARE_MANY <= SHARE_ONE && SHARE_ONE < CHUNK);
