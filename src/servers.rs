//! 5 RESTART, carried out: which processes are which generation, and how one gives way to the next.
//!
//! To the supervisor every generation is a job of its own. A server that forks its own successor leaves it under
//! the same keeper, so a keeper can hold two generations here: the older one is told by its pid, and whatever it
//! leaves behind is told from its successor by descent. Nothing here decides; it starts, signals and looks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::{self, Config, HotMode, ReadyBy};
use crate::event_loop::Input;
use crate::overview::Place;
use crate::process::{self, Guardian, Spec, tree};
use crate::restart::contract::{Adopt, Contract};
use crate::restart::environment::{self, ServerEnv};
use crate::restart::evidence;
use crate::restart::notify_socket::NotifySocket;
use crate::restart::ready::{self, Probe, ReadyReport};
use crate::restart::sockets::{self, Held, HeldView};
use crate::restart::successor::{self, Poke, Preflight, Search};
use crate::supervisor::event::{Event, Evidence, Exit, Target};
use crate::supervisor::generation::{GenerationId, JobId};

/// The servers that live, and the sockets that outlive them.
pub struct Servers {
    held: Held,
    sender: Sender<Input>,
    color_hints: bool,
    generations: BTreeMap<JobId, Generation>,
    /// What the generation that went down last had printed at the end.
    last_lines: (Option<GenerationId>, Vec<String>),
    url: Option<String>,
    /// Somebody may type to the server: it gets a pipe as its stdin instead of nothing to read.
    types: bool,
    /// Our ends of what they read, by keeper: a successor that a server forks has the other end too. They never block.
    stdins: BTreeMap<JobId, PipeWriter>,
}

/// One generation of the server.
struct Generation {
    number: GenerationId,
    /// The job whose keeper its processes live under: its own, or that of the server which forked it.
    keeper: JobId,
    pid: Option<Pid>,
    /// Its main process has ended.
    ended: bool,
    /// The supervisor has been told that it has a socket of its own.
    listening: bool,
    /// The sockets that it listens on, as far as they are known: its successor has them too.
    sockets: HeldView,
    notify: Option<NotifySocket>,
    probe: Option<Probe>,
    /// While its process has not been found.
    search: Option<Search>,
    /// While it is to notice that it may go.
    poke: Option<Poke>,
    /// Started by a contract: it is ready when it has shaken hands and accepts.
    handshake: Option<Handshake>,
}

/// What is still missing of a successor that was started by a contract.
struct Handshake {
    signal: Signal,
    came: bool,
    accepts: Option<Evidence>,
}

impl Servers {
    /// On these sockets. What happens to the servers is sent to `sender`; `color_hints`: whether they are told that
    /// colour is welcome.
    pub fn new(held: Held, sender: Sender<Input>, color_hints: bool) -> Servers {
        Servers {
            held,
            sender,
            color_hints,
            generations: BTreeMap::new(),
            last_lines: (None, Vec::new()),
            url: None,
            types: false,
            stdins: BTreeMap::new(),
        }
    }

    /// From here on somebody may type to the server.
    pub fn typed_to(&mut self) {
        self.types = true;
    }

    /// Gives a line to the server that was started last; none is the end of all lines.
    ///
    /// # Errors
    /// Why nothing of it arrives.
    pub fn type_line(&mut self, line: Option<&str>) -> Result<(), &'static str> {
        let newest = self
            .generations
            .values()
            .max_by_key(|generation| generation.number);
        let newest = newest.ok_or("no server runs that could read it")?;
        let keeper = newest.keeper;
        let Some(line) = line else {
            self.stdins.remove(&keeper);
            return Ok(());
        };
        let pipe = self.stdins.get_mut(&keeper).ok_or("its stdin was closed")?;
        match pipe.write_all(format!("{line}\n").as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err("the server does not read its stdin")
            }
            Err(_) => Err("the server has closed its stdin"),
        }
    }

    /// The sockets that devwatch holds.
    pub fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Where the server answers, as far as that is known.
    pub fn url(&self) -> Option<String> {
        self.url.clone()
    }

    /// Where the server answers: what devwatch holds, or what the newest generation listens on by itself.
    pub fn places(&self) -> Vec<Place> {
        let held = self.held.places();
        if !held.is_empty() {
            return held;
        }
        let newest = self
            .generations
            .values()
            .max_by_key(|generation| generation.number);
        let own = newest.map_or(&[][..], |generation| &generation.sockets.addresses);
        let first = self.url.iter().map(|url| Place {
            text: url.trim_end_matches('/').to_owned(),
            url: Some(url.clone()),
        });
        let mut places: Vec<Place> = first.collect();
        for address in own {
            let text = match address {
                config::Address::Tcp(address) => evidence::reachable(*address).to_string(),
                config::Address::Unix(path) => format!("unix:{}", path.display()),
            };
            if !places.iter().any(|place| place.text.ends_with(&text)) {
                places.push(Place { text, url: None });
            }
        }
        places
    }

    /// How many connections wait at held sockets for somebody to accept them.
    pub fn waiting(&self) -> usize {
        self.held.waiting()
    }

    /// The job whose keeper the processes of `job` live under.
    pub fn keeper(&self, job: JobId) -> Option<JobId> {
        Some(self.generations.get(&job)?.keeper)
    }

    /// How many clients are connected to a generation.
    pub fn connections(&self, number: GenerationId) -> usize {
        let Some(old) = self.generations.values().find(|g| g.number == number) else {
            return 0;
        };
        let Some(pid) = old.pid else { return 0 };
        let addresses = old.sockets.addresses.iter();
        let tcp = addresses.filter_map(|address| match address {
            config::Address::Tcp(address) => Some(*address),
            config::Address::Unix(_) => None,
        });
        evidence::connections(&subtree(pid), &tcp.collect::<Vec<_>>())
    }

    /// The last lines of a generation that has gone down, if it was the last one to do so.
    pub fn last_lines(&self, generation: GenerationId) -> &[String] {
        if self.last_lines.0 == Some(generation) {
            &self.last_lines.1
        } else {
            &[]
        }
    }

    /// Whether this job is a server.
    pub fn contains(&self, job: JobId) -> bool {
        self.generations.contains_key(&job)
    }

    /// A server that could not even be asked for.
    pub fn forget(&mut self, job: JobId) {
        self.generations.remove(&job);
    }

    // --- orders ---

    /// What to start as generation `number`: from cold, beside the one that serves, or in the old one's stead.
    ///
    /// # Errors
    /// An env file is malformed, or descriptors ran out. The generation is known all the same.
    pub fn prepare(
        &mut self,
        config: &Config,
        job: JobId,
        number: GenerationId,
        last_good: bool,
    ) -> (Result<Spec>, Vec<String>) {
        // Blocking mode and the state of a shared socket are everybody's: mended only while nobody lives.
        let alone = self.generations.is_empty();
        let warnings = if alone {
            self.held.prepare()
        } else {
            Vec::new()
        };
        let server = config
            .server
            .as_ref()
            .expect("only a configured server is started");
        let notify = NotifySocket::bind().ok();
        let spec = self.spec(config, server, number, notify.as_ref());
        let spec = spec.map(|(spec, adopt)| {
            let program = last_good.then(|| good_program(config)).flatten();
            (
                Spec {
                    program: program.map(PathBuf::into_os_string),
                    ..spec
                },
                adopt,
            )
        });
        let handshake = match &spec {
            Ok((_, adopt)) => adopt.map(|adopt| Handshake {
                signal: adopt.handshake,
                came: false,
                accepts: None,
            }),
            Err(_) => None,
        };
        // Without a pipe there is nothing to read, as ever.
        let (reader, stdin) = self.types.then(pipe).and_then(Result::ok).unzip();
        let generations = &self.generations;
        self.stdins
            .retain(|keeper, _| generations.values().any(|other| other.keeper == *keeper));
        self.stdins.extend(stdin.map(|stdin| (job, stdin)));
        let generation = Generation {
            notify,
            handshake,
            ..Generation::new(number, job)
        };
        self.generations.insert(job, generation);
        let spec = spec.map(|(spec, _)| Spec {
            stdin: reader,
            ..spec
        });
        (spec, warnings)
    }

    fn spec(
        &self,
        config: &Config,
        server: &config::Server,
        number: GenerationId,
        notify: Option<&NotifySocket>,
    ) -> Result<(Spec, Option<&'static Adopt>)> {
        let from_files = environment::read_env_files(&server.env_file)?;
        let (inherit, adopt) = self.handed_on(config)?;
        let hand_over = adopt
            .map(|adopt| adopt.variables(inherit.len()))
            .unwrap_or_default();
        let names = self.held.names();
        let context = ServerEnv {
            generation: number,
            listen_names: &names,
            notify: notify.map(NotifySocket::path),
            port: self.held.port(),
            hand_over: &hand_over,
            color_hints: self.color_hints,
        };
        let env = environment::server(std::env::vars_os(), from_files, &server.env, context);
        let mut argv = server_argv(server);
        argv.extend(
            adopt
                .iter()
                .flat_map(|adopt| adopt.arguments(3))
                .map(OsString::from),
        );
        let ready_line = match &server.ready.by {
            ReadyBy::Log(pattern) => Some(pattern.clone()),
            ReadyBy::Accepting | ReadyBy::Http(_) | ReadyBy::Notify | ReadyBy::Delay(_) => None,
        };
        Ok((
            Spec {
                argv,
                program: None,
                env,
                cwd: server.cwd.clone(),
                stdin: None,
                inherit,
                ready_line,
            },
            adopt,
        ))
    }

    /// The sockets that a new server gets, and the contract by which it takes them.
    fn handed_on(&self, config: &Config) -> Result<(Vec<OwnedFd>, Option<&'static Adopt>)> {
        let copies = self
            .held
            .fds()
            .iter()
            .map(|fd| fd.try_clone_to_owned())
            .collect::<Result<Vec<_>, _>>()?;
        let adopt = contract(config).and_then(|contract| contract.adopt.as_ref());
        let Some(adopt) = adopt.filter(|_| hot_mode(config) == Some(HotMode::Adopt)) else {
            return Ok((copies, None));
        };
        if !copies.is_empty() {
            return Ok((copies, Some(adopt)));
        }
        // The server has bound its sockets itself: its successor gets copies of them. The first one binds its own.
        let serving = self
            .generations
            .values()
            .find_map(|generation| generation.pid.filter(|_| !generation.ended));
        let Some(pid) = serving else {
            return Ok((Vec::new(), None));
        };
        let taken = sockets::take_listeners(pid)?
            .into_iter()
            .map(|(socket, _)| socket)
            .collect();
        Ok((taken, Some(adopt)))
    }

    /// Keeps a copy of the program that a server executes, whatever stands in its place by now.
    pub fn keep(&self, config: &Config, job: JobId) {
        let (Some(good), Some(artefact)) = (good_program(config), config.artefact()) else {
            return;
        };
        let Some(pid) = self
            .generations
            .get(&job)
            .and_then(|generation| generation.pid)
        else {
            return;
        };
        // Opened at once: the process may be about to go.
        let Ok(program) = program_of(pid, &artefact) else {
            return;
        };
        let sender = self.sender.clone();
        // An artefact of many megabytes takes its time.
        thread::spawn(move || {
            if copy_program(program, &good).is_ok() {
                let _ = sender.send(Input::Kept(job));
            }
        });
    }

    /// Has the serving server fork its successor.
    pub fn hand_over(
        &mut self,
        guardian: &Guardian,
        config: &Config,
        from: JobId,
        to: JobId,
        number: GenerationId,
    ) {
        let Some((keeper, pid)) = self
            .generations
            .get(&from)
            .and_then(|old| Some((old.keeper, old.pid?)))
        else {
            return;
        };
        self.generations.insert(to, Generation::new(number, keeper));
        let signal = config
            .server
            .as_ref()
            .expect("only a configured server hands over")
            .hot_signal();
        if successor::preflight(pid, signal) == Preflight::NotCaught {
            self.generations.remove(&to);
            let reason = format!("the server does not handle {signal}: it was not sent");
            self.send(Input::Refused(to, reason));
            return;
        }
        let Some(keeper_pid) = guardian.keeper(keeper) else {
            return;
        };
        let old_tree = subtree(pid);
        let sockets = if self.held.is_empty() {
            successor::listening_sockets(&old_tree)
        } else {
            self.held.view()
        };
        let known = tree::descendants(keeper_pid)
            .into_iter()
            .filter_map(|pid| Some((pid, tree::start_time(pid)?)));
        let sender = self.sender.clone();
        let search = Search::start(
            known.collect(),
            config.artefact(),
            sockets.inodes.clone(),
            move || tree::descendants(keeper_pid),
            move |pid| drop(sender.send(Input::Found(to, pid))),
        );
        if let Some(old) = self.generations.get_mut(&from) {
            old.sockets = sockets.clone();
        }
        let generation = self.generations.get_mut(&to).expect("just inserted");
        generation.sockets = sockets;
        generation.search = search.ok();
        guardian.signal_process(keeper, pid, signal);
    }

    /// A successor that came unasked is a generation from here on.
    pub fn recognise(
        &mut self,
        guardian: &Guardian,
        from: JobId,
        to: JobId,
        number: GenerationId,
        pid: Pid,
    ) {
        let Some(old) = self.generations.remove(&from) else {
            return;
        };
        guardian.follow(old.keeper, pid);
        guardian.kill_except(old.keeper, pid);
        let sockets = old.sockets;
        let generation = Generation {
            pid: Some(pid),
            sockets,
            ..Generation::new(number, old.keeper)
        };
        self.generations.insert(to, generation);
    }

    /// Tells the old generation that its successor accepts.
    pub fn retire(&mut self, guardian: &Guardian, config: &Config, job: JobId) {
        let Some(server) = &config.server else { return };
        let Some(old) = self.generations.get(&job) else {
            return;
        };
        let (Some(pid), keeper) = (old.pid, old.keeper) else {
            return;
        };
        let contract = contract(config);
        match hot_mode(config) {
            None | Some(HotMode::Overlap) => {
                guardian.signal_process(keeper, pid, server.stop.signal)
            }
            Some(HotMode::Adopt) => {
                let signal = contract
                    .and_then(|contract| contract.adopt.as_ref())
                    .map(|adopt| adopt.old_signal);
                guardian.signal_process(keeper, pid, signal.unwrap_or(server.stop.signal));
            }
            Some(HotMode::SelfFork) => {}
        }
        if hot_mode(config) != Some(HotMode::Overlap)
            && contract.is_none_or(|contract| contract.own.poke)
        {
            self.poke(job, server.hot.drain);
        }
    }

    /// Connects to a generation's sockets as long as it has them: a server that waits in accept notices that it is
    /// to stop only with the next connection. To others that is a client that says nothing.
    fn poke(&mut self, job: JobId, at_most: Duration) {
        let Some(old) = self.generations.get_mut(&job) else {
            return;
        };
        let Some(pid) = old.pid else { return };
        let view = if self.held.is_empty() {
            old.sockets.clone()
        } else {
            self.held.view()
        };
        let (inodes, addresses) = (view.inodes, view.addresses);
        let holds = move || {
            let listening = successor::listening_sockets(&[pid]);
            listening.inodes.iter().any(|inode| inodes.contains(inode))
        };
        old.poke = Poke::start(addresses, holds, at_most).ok();
    }

    /// Asks a generation to end.
    pub fn stop(&mut self, guardian: &Guardian, config: &Config, job: JobId, target: Target) {
        let Some(server) = &config.server else { return };
        let signal = server.stop.signal;
        let Some(generation) = self.generations.get_mut(&job) else {
            return;
        };
        generation.search = None;
        let keeper = generation.keeper;
        let Some(pid) = generation.pid else {
            // Nobody ever found a process of it.
            self.send(Input::Cleared(job));
            return;
        };
        match target {
            Target::Tree if !self.shared(job) => {
                guardian.signal(keeper, signal, process::Target::Tree)
            }
            Target::Tree | Target::Main => guardian.signal_process(keeper, pid, signal),
        }
        // After a failed attempt to fork, such a server may sit in an accept that no signal ends.
        if target == Target::Main && hot_mode(config) == Some(HotMode::SelfFork) {
            self.poke(job, server.stop.timeout);
        }
    }

    /// Ends every process of a generation, and of no other one.
    pub fn kill(&mut self, guardian: &Guardian, job: JobId) {
        let Some(generation) = self.generations.get_mut(&job) else {
            guardian.kill(job);
            return;
        };
        generation.search = None;
        let (keeper, pid) = (generation.keeper, generation.pid);
        let others = self.others(job);
        match (others.as_slice(), pid) {
            ([], _) => guardian.kill(keeper),
            (_, None) => self.send(Input::Cleared(job)),
            (others, Some(pid)) => {
                if let Some(successor) = others
                    .iter()
                    .copied()
                    .find(|other| subtree(pid).contains(other))
                {
                    guardian.kill_except(keeper, successor);
                }
                for pid in subtree(pid).into_iter().filter(|pid| !others.contains(pid)) {
                    guardian.signal_process(keeper, pid, Signal::SIGKILL);
                }
            }
        }
    }

    // --- facts ---

    /// What a report about processes means. Of jobs that are no servers it means what it says.
    pub fn reported(
        &mut self,
        guardian: &Guardian,
        config: &Config,
        report: process::Report,
    ) -> Vec<Event> {
        match report {
            process::Report::Spawned { job, pid } => {
                if let Some(generation) = self.generations.get_mut(&job) {
                    generation.pid = Some(pid);
                }
                self.probe(guardian, config, job);
                vec![Event::Spawned(job, pid.as_raw())]
            }
            process::Report::SpawnFailed { job, error } => {
                self.generations.remove(&job);
                vec![Event::SpawnFailed(job, error.to_string())]
            }
            process::Report::Exited { job, exit, last } => self.ended(guardian, job, exit, last),
            process::Report::Ended {
                job,
                pid,
                exit,
                last,
            } => {
                let which = self
                    .generations
                    .iter()
                    .find(|(_, g)| g.keeper == job && g.pid == Some(pid));
                match which.map(|(job, _)| *job) {
                    Some(job) => self.ended(guardian, job, exit, last),
                    None => Vec::new(),
                }
            }
            process::Report::TreeGone { job } => {
                let below = self.generations.iter().filter(|(_, g)| g.keeper == job);
                let gone: Vec<JobId> = below.map(|(job, _)| *job).collect();
                if gone.is_empty() {
                    return vec![Event::TreeGone(job)];
                }
                gone.into_iter().flat_map(|job| self.cleared(job)).collect()
            }
            process::Report::ReadyLine { job } => vec![Event::Ready(job, Evidence::Proven)],
            process::Report::Signalled { job, signal, by: _ } => {
                self.shook_hands(job, signal).into_iter().collect()
            }
            process::Report::GuardianLost => Vec::new(),
        }
    }

    /// A generation's main process has ended.
    fn ended(
        &mut self,
        guardian: &Guardian,
        job: JobId,
        exit: Exit,
        last: Vec<String>,
    ) -> Vec<Event> {
        let Some(generation) = self.generations.get_mut(&job) else {
            return vec![Event::Exited(job, exit)];
        };
        generation.ended = true;
        generation.probe = None;
        generation.poke = None;
        self.last_lines = (Some(generation.number), last);
        let (keeper, view) = (generation.keeper, generation.sockets.clone());
        let others = self.others(job);
        if let Some(successor) = others.first().copied() {
            // What it leaves beside its successor goes with it; until that is so, old code could answer.
            guardian.kill_except(keeper, successor);
            self.clear_when_alone(guardian, job, keeper, successor);
        } else if !self.searching(keeper) {
            let unasked = guardian
                .keeper(keeper)
                .and_then(|keeper| left_in_charge(keeper, &view));
            if let Some(pid) = unasked {
                return vec![Event::TookOver(job, pid.as_raw())];
            }
        }
        vec![Event::Exited(job, exit)]
    }

    /// Nothing of a generation is left.
    pub fn cleared(&mut self, job: JobId) -> Vec<Event> {
        let Some(generation) = self.generations.remove(&job) else {
            return Vec::new();
        };
        let lost = (!generation.ended).then_some(Event::Exited(job, Exit::Lost));
        lost.into_iter().chain([Event::TreeGone(job)]).collect()
    }

    /// The successor of a server that forks itself was found.
    pub fn found(
        &mut self,
        guardian: &Guardian,
        config: &Config,
        job: JobId,
        pid: Pid,
    ) -> Vec<Event> {
        let Some(generation) = self
            .generations
            .get_mut(&job)
            .filter(|generation| generation.pid.is_none())
        else {
            return Vec::new();
        };
        generation.search = None;
        generation.pid = Some(pid);
        let keeper = generation.keeper;
        guardian.follow(keeper, pid);
        // The old one may have ended before its successor was known.
        let before = self
            .generations
            .iter()
            .find(|(other, g)| **other != job && g.keeper == keeper && g.ended);
        if let Some((&before, _)) = before {
            guardian.kill_except(keeper, pid);
            self.clear_when_alone(guardian, before, keeper, pid);
        }
        self.probe(guardian, config, job);
        vec![Event::Spawned(job, pid.as_raw())]
    }

    /// A probe saw that a generation is ready.
    pub fn ready(&mut self, job: JobId, report: &ReadyReport) -> Option<Event> {
        let own = match &report.address {
            Some(config::Address::Tcp(address)) => {
                Some(format!("http://{}/", evidence::reachable(*address)))
            }
            Some(config::Address::Unix(_)) | None => None,
        };
        self.url = self.held.url().or(own).or(self.url.take());
        let generation = self.generations.get_mut(&job)?;
        if self.held.is_empty() {
            let pids = generation.pid.map(subtree).unwrap_or_default();
            generation.sockets = successor::listening_sockets(&pids);
        } else {
            generation.sockets = self.held.view();
        }
        match &mut generation.handshake {
            Some(handshake) if !handshake.came => {
                handshake.accepts = Some(report.how);
                None
            }
            Some(_) | None => Some(Event::Ready(job, report.how)),
        }
    }

    /// Servers that have opened a socket of their own since the last call.
    pub fn listening(&mut self) -> Vec<Event> {
        let mut facts = Vec::new();
        for (job, generation) in &mut self.generations {
            let state = || generation.probe.as_ref().map(Probe::state);
            if !generation.listening && matches!(state(), Some(ready::State::Listening(_))) {
                generation.listening = true;
                facts.push(Event::Listening(*job));
            }
        }
        facts
    }

    fn shook_hands(&mut self, job: JobId, signal: Signal) -> Option<Event> {
        let handshake = self.generations.get_mut(&job)?.handshake.as_mut()?;
        if handshake.signal == signal {
            handshake.came = true;
        }
        let evidence = handshake.accepts.filter(|_| handshake.came)?;
        Some(Event::Ready(job, evidence))
    }

    /// Looks for evidence that a generation is ready, from the moment its process is known.
    fn probe(&mut self, guardian: &Guardian, config: &Config, job: JobId) {
        let (Some(generation), Some(server)) = (self.generations.get_mut(&job), &config.server)
        else {
            return;
        };
        let Some(pid) = generation.pid else { return };
        let Some(keeper) = guardian.keeper(generation.keeper) else {
            return;
        };
        let sender = self.sender.clone();
        let forked = generation.keeper != job;
        let held = if forked && self.held.is_empty() {
            generation.sockets.clone()
        } else {
            self.held.view()
        };
        // A successor that the server has forked got neither our environment nor our pipes.
        let by = match &server.ready.by {
            ReadyBy::Log(_) | ReadyBy::Notify if forked => &ReadyBy::Accepting,
            by @ (ReadyBy::Accepting
            | ReadyBy::Log(_)
            | ReadyBy::Http(_)
            | ReadyBy::Notify
            | ReadyBy::Delay(_)) => by,
        };
        let members = move || {
            if forked {
                subtree(pid)
            } else {
                tree::descendants(keeper)
            }
        };
        let report = move |report| drop(sender.send(Input::Ready(job, report)));
        // Without a probe the server has its ready timeout to live or to be found out.
        generation.probe = Probe::start(by, held, members, generation.notify.take(), report).ok();
    }

    /// Reports that a generation is gone when its keeper holds its successor alone.
    #[expect(
        clippy::disallowed_methods,
        reason = "a leaf thread that waits for processes to go"
    )]
    fn clear_when_alone(&self, guardian: &Guardian, job: JobId, keeper: JobId, successor: Pid) {
        let Some(keeper) = guardian.keeper(keeper) else {
            return;
        };
        let sender = self.sender.clone();
        thread::spawn(move || {
            let until = Instant::now() + MOST_CLEARING;
            loop {
                let kept = subtree(successor);
                let alone = tree::descendants(keeper)
                    .iter()
                    .all(|pid| kept.contains(pid));
                if alone || Instant::now() >= until {
                    let _ = sender.send(Input::Cleared(job));
                    return;
                }
                thread::sleep(CLEARING_LOOK);
            }
        });
    }

    /// The main processes of the other generations that live under the same keeper.
    fn others(&self, job: JobId) -> Vec<Pid> {
        let Some(keeper) = self
            .generations
            .get(&job)
            .map(|generation| generation.keeper)
        else {
            return Vec::new();
        };
        let others = self
            .generations
            .iter()
            .filter(|(other, g)| **other != job && g.keeper == keeper && !g.ended);
        others
            .filter_map(|(_, generation)| generation.pid)
            .collect()
    }

    fn shared(&self, job: JobId) -> bool {
        let keeper = self
            .generations
            .get(&job)
            .map(|generation| generation.keeper);
        self.generations
            .iter()
            .any(|(other, g)| *other != job && Some(g.keeper) == keeper)
    }

    fn searching(&self, keeper: JobId) -> bool {
        self.generations
            .values()
            .any(|generation| generation.keeper == keeper && generation.search.is_some())
    }

    fn send(&self, input: Input) {
        // The loop has ended: nobody is left to tell.
        let _ = self.sender.send(input);
    }
}

impl Generation {
    fn new(number: GenerationId, keeper: JobId) -> Generation {
        Generation {
            number,
            keeper,
            pid: None,
            ended: false,
            listening: false,
            sockets: HeldView::default(),
            notify: None,
            probe: None,
            search: None,
            poke: None,
            handshake: None,
        }
    }
}

/// What a server reads, and our end of it, which never blocks.
fn pipe() -> io::Result<(OwnedFd, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader.into(), writer))
}

fn hot_mode(config: &Config) -> Option<HotMode> {
    config.server.as_ref()?.hands_over()
}

fn contract(config: &Config) -> Option<&'static Contract> {
    config.server.as_ref()?.contract()
}

/// A process and everything below it.
fn subtree(pid: Pid) -> Vec<Pid> {
    let mut pids = tree::descendants(pid);
    pids.push(pid);
    pids
}

/// A process below `keeper` that has the sockets of a server whose main process has just ended.
fn left_in_charge(keeper: Pid, sockets: &HeldView) -> Option<Pid> {
    let holds = |pid: &Pid| {
        let listening = successor::listening_sockets(&[*pid]);
        listening
            .inodes
            .iter()
            .any(|inode| sockets.inodes.contains(inode))
    };
    tree::descendants(keeper).into_iter().find(holds)
}

/// Where the last good program of the server is kept: none where it is no artefact, but an interpreter or a shell.
fn good_program(config: &Config) -> Option<PathBuf> {
    let artefact = config.artefact()?;
    Some(
        config
            .root
            .join(".devwatch/good")
            .join(artefact.file_name()?),
    )
}

/// What `pid` executes, if that is or was the artefact.
fn program_of(pid: Pid, artefact: &Path) -> io::Result<File> {
    let link = format!("/proc/{pid}/exe");
    let runs = fs::read_link(&link)?;
    let runs = runs.as_os_str().as_encoded_bytes();
    let runs = runs.strip_suffix(b" (deleted)").unwrap_or(runs);
    let known = artefact
        .canonicalize()
        .unwrap_or_else(|_| artefact.to_owned());
    if runs != known.as_os_str().as_encoded_bytes() {
        return Err(io::Error::other("it executes something else"));
    }
    File::open(link)
}

/// Copies a program to `good`. The copy is there whole or not at all.
fn copy_program(mut program: File, good: &Path) -> io::Result<()> {
    fs::create_dir_all(good.parent().unwrap_or(Path::new("/")))?;
    let beside = good.with_extension("new");
    let mut copy = File::create(&beside)?;
    io::copy(&mut program, &mut copy)?;
    copy.set_permissions(program.metadata()?.permissions())?;
    fs::rename(beside, good)
}

/// argv[0] as an absolute path, so that the server finds itself again wherever it changes its directory to.
fn server_argv(server: &config::Server) -> Vec<OsString> {
    let mut argv: Vec<OsString> = server.run.argv().into_iter().map(OsString::from).collect();
    if let Some(program) = argv
        .first_mut()
        .filter(|program| program.as_encoded_bytes().contains(&b'/'))
    {
        // `ps` and messages show it.
        let path = Path::new(&program);
        let path = path.strip_prefix(".").unwrap_or(path);
        *program = server.cwd.join(path).into_os_string();
    }
    argv
}

/// How often it is looked whether what an old generation left has gone: killed processes go within a millisecond.
const CLEARING_LOOK: Duration = Duration::from_millis(1);
/// A process that does not go in this time is uninterruptible, and executes no code of the server's any more.
const MOST_CLEARING: Duration = Duration::from_secs(1);
