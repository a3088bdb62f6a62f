#[derive(Clone, Copy, Debug)]
pub struct SubId(u32);
#[derive(Debug)]
pub struct InvalidSubject;
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QueueId(u32);
pub struct Matches<T> {
    pub plain: Vec<T>,
    pub queued: Vec<(QueueId, T)>,
}
impl<T> Default for Matches<T> {
    fn default() -> Self {
        Matches {
            plain: vec![],
            queued: vec![],
        }
    }
}
pub struct Sublist<T> {
    subs: Vec<Option<(Vec<u8>, Option<Vec<u8>>, T)>>,
    q: Vec<Vec<u8>>,
}
impl<T: Copy> Sublist<T> {
    pub fn new(_: u64) -> Self {
        Sublist {
            subs: vec![],
            q: vec![],
        }
    }
    pub fn insert(&mut self, s: &[u8], q: Option<&[u8]>, t: T) -> Result<SubId, InvalidSubject> {
        if !super::token::is_valid(s) {
            return Err(InvalidSubject);
        }
        if let Some(q) = q
            && !self.q.iter().any(|x| x == q)
        {
            self.q.push(q.to_vec());
        }
        self.subs.push(Some((s.to_vec(), q.map(|q| q.to_vec()), t)));
        Ok(SubId(self.subs.len() as u32 - 1))
    }
    pub fn remove(&mut self, id: SubId) -> Option<T> {
        self.subs[id.0 as usize].take().map(|s| s.2)
    }
    pub fn len(&self) -> usize {
        self.subs.iter().flatten().count()
    }
    pub fn matches(&self, s: &[u8], out: &mut Matches<T>) {
        out.plain.clear();
        out.queued.clear();
        for (p, q, t) in self.subs.iter().flatten() {
            let (mut a, mut b) = (p.split(|c| *c == b'.'), s.split(|c| *c == b'.'));
            let ok = loop {
                match (a.next(), b.next()) {
                    (Some(b">"), Some(_)) => break true,
                    (Some(b"*"), Some(_)) => {}
                    (Some(x), Some(y)) if x == y => {}
                    (None, None) => break true,
                    _ => break false,
                }
            };
            if ok {
                match q {
                    Some(q) => out.queued.push((
                        QueueId(self.q.iter().position(|x| x == q).unwrap() as u32),
                        *t,
                    )),
                    None => out.plain.push(*t),
                }
            }
        }
    }
}
