//! Requests over a Unix socket, from one thread that pins itself, the same for whoever serves.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procurify_token_bench::{stopwatch, timed};
use rustix::event::epoll;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// A server and what to say to it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) socket: PathBuf,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: usize,
}

impl Exchange {
    /// How long one request after the other took, on a connection that stays open.
    pub(crate) fn one_by_one(&self, count: usize) -> Vec<Duration> {
        self.any_of(std::slice::from_ref(&self.request), count)
    }

    /// The same with any of these requests each time; all have answers of the same length.
    pub(crate) fn any_of(&self, requests: &[Vec<u8>], count: usize) -> Vec<Duration> {
        let mut stream = connect(&self.socket);
        let mut answer = vec![0; self.answer];
        let mut once = |request: &[u8]| {
            stream.write_all(request).expect("it takes requests");
            stream.read_exact(&mut answer).expect("it answers");
        };
        let any = || &requests[fastrand::usize(..requests.len())];
        (0..WARM_UP).for_each(|_| once(any()));
        let waits = (0..count).map(|_| {
            let request = any();
            timed(|| once(request)).1
        });
        waits.collect()
    }

    /// One request, and its answer.
    pub(crate) fn once(&self, stream: &mut UnixStream) {
        stream.write_all(&self.request).expect("it takes requests");
        stream.read_exact(&mut vec![0; self.answer]).expect("it answers");
    }

    /// Requests a second over `clients` connections that stay open, each with one request under way.
    pub(crate) fn kept_open(&self, clients: usize, count: usize) -> f64 {
        let streams: Vec<_> = (0..clients).map(|_| connect(&self.socket)).collect();
        self.drive(streams, count, |_| None)
    }

    /// The same where each request has a connection of its own.
    pub(crate) fn afresh(&self, clients: usize, count: usize) -> f64 {
        let streams: Vec<_> = (0..clients).map(|_| connect(&self.socket)).collect();
        self.drive(streams, count, |socket| Some(connect(socket)))
    }

    fn drive(
        &self,
        mut streams: Vec<UnixStream>,
        count: usize,
        successor: impl Fn(&Path) -> Option<UnixStream>,
    ) -> f64 {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let watch = |stream: &UnixStream, number: usize| {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&ready, stream, data, epoll::EventFlags::IN).expect("it can be watched");
        };
        for (number, stream) in streams.iter().enumerate() {
            watch(stream, number);
        }
        let mut held = vec![0; streams.len()];
        let mut answer = vec![0; self.answer];
        let mut events = Vec::with_capacity(streams.len());
        let (mut asked, mut answered) = (streams.len(), 0);
        let begun = stopwatch();
        for stream in &mut streams {
            stream.write_all(&self.request).expect("it takes requests");
        }
        while answered < asked {
            epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), None).expect("epoll");
            for event in events.drain(..) {
                let number = usize::try_from(event.data.u64()).expect("it was one");
                let stream = &mut streams[number];
                let space = &mut answer[held[number]..];
                match stream.read(space).expect("it answers") {
                    0 => panic!("{} hung up", self.socket.display()),
                    got => held[number] += got,
                }
                if held[number] < self.answer {
                    continue;
                }
                (held[number], answered) = (0, answered + 1);
                if asked == count {
                    continue;
                }
                asked += 1;
                if let Some(next) = successor(&self.socket) {
                    *stream = next;
                    watch(stream, number);
                }
                stream.write_all(&self.request).expect("it takes requests");
            }
        }
        f64::from(u32::try_from(count).expect("not that many")) / begun.elapsed().as_secs_f64()
    }
}

/// Connects as soon as somebody listens.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    for _ in 0..2000 {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("nobody listens on {}", socket.display());
}

/// Keeps this thread to one core, or lets it run on any.
pub(crate) fn pin_here(core: Option<usize>) {
    sched_setaffinity(None, &cores(core)).expect("there is such a core");
}

/// The same for every thread of a process.
pub(crate) fn pin(process: u32, core: Option<usize>) {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    for thread in threads.flatten() {
        let thread = thread.file_name().to_string_lossy().parse().expect("a number");
        // One that has ended meanwhile needs no core.
        let _ = sched_setaffinity(Pid::from_raw(thread), &cores(core));
    }
}

fn cores(core: Option<usize>) -> CpuSet {
    let mut set = CpuSet::new();
    match core {
        Some(core) => set.set(core),
        None => (0..CpuSet::MAX_CPU).for_each(|core| set.set(core)),
    }
    set
}

const WARM_UP: usize = 50;
