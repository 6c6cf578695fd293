//! 6 SHOW. The screen on a terminal.
//!
//! [`Screen`] is a thread of its own, so that nothing which builds, serves or floods delays a key: it gets what is known
//! as an [`Overview`], reads what was printed from [`Printed`], and asks the loop for what it cannot do itself. What it
//! draws is decided in [`view`], which is pure; what keys mean, in [`keys`] and [`ui`].

mod chrome;
pub mod excerpts;
pub mod find;
mod input;
pub mod keys;
pub mod log;
pub mod prompt;
pub mod sanitise;
mod terminal;
pub mod ui;
pub mod view;
pub mod visit;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::buffer::Buffer;
use ratatui::crossterm::Command as _;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::event::{Event, KeyEventKind, MouseEventKind};
use signal_hook::consts::{SIGCONT, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::config::user::User;
use crate::failpoint;
use crate::overview::Overview;
use crate::plain;
use crate::process::{ScreenNotice, tree};
use crate::supervisor::event::Request;
use crate::supervisor::status::{Activity, Freshness};
use chrome::Chrome;
use excerpts::Excerpts;
use input::Input;
use keys::{Action, Keys};
use log::{Bounds, Log};
use terminal::Terminal;
use ui::{Context, Do, Ui};
use view::{Look, Scene};

/// What jobs have printed: written by whoever reads their pipes, read by the screen.
#[derive(Clone)]
pub struct Printed(Arc<Shared>);

struct Shared {
    logs: Mutex<Logs>,
    /// Somebody has rung, and the screen has not come yet.
    rung: AtomicBool,
    bell: Mutex<Option<Sender<Message>>>,
    latest: Mutex<Option<Overview>>,
}

/// The two logs.
pub struct Logs {
    /// What the server has printed.
    pub app: Log,
    /// What the commands of the last cycle have printed.
    pub build: Log,
}

impl Printed {
    /// Nothing has been printed yet.
    pub fn new() -> Printed {
        let build = Bounds {
            generations: 1,
            ..Bounds::default()
        };
        Printed(Arc::new(Shared {
            logs: Mutex::new(Logs {
                app: Log::new(Bounds::default()),
                build: Log::new(build),
            }),
            rung: AtomicBool::new(false),
            bell: Mutex::new(None),
            latest: Mutex::new(None),
        }))
    }

    /// Adds to it, and has the screen look.
    pub fn write<T>(&self, write: impl FnOnce(&mut Logs) -> T) -> T {
        let result = write(&mut self.logs());
        self.0.ring();
        result
    }

    /// Looks at it.
    pub fn read<T>(&self, read: impl FnOnce(&Logs) -> T) -> T {
        read(&self.logs())
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.0.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Printed {
    fn default() -> Printed {
        Printed::new()
    }
}

impl Shared {
    /// Wakes the screen, once for all that has happened since it last looked.
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
            // Before there is a screen, and after it, nobody looks.
            let _ = bell.as_ref().map(|bell| bell.send(Message::Look));
        }
    }
}

/// How the screen is to be.
pub struct Settings {
    /// What keys mean.
    pub keys: Keys,
    /// How it is to look.
    pub look: Look,
    /// What opens problems: a command, or a template.
    pub editor: String,
    /// What shows the log.
    pub pager: String,
    /// What a place in a file links to: with `{path}`, `{line}` and `{column}`.
    pub link: String,
    /// Long lines of the log are wrapped.
    pub wrap_log: bool,
    /// Long lines above the log are wrapped.
    pub wrap_problems: bool,
    /// The mouse is devwatch's.
    pub mouse: bool,
    /// The settings that are in force.
    pub files: Vec<String>,
    /// Where a file for the pager can be put.
    pub scratch: PathBuf,
}

impl Settings {
    /// As the user's own file says, and the environment where that says nothing. `files` are in force; `scratch` is a
    /// folder of devwatch's own.
    pub fn new(user: &User, colours: bool, files: &[PathBuf], scratch: PathBuf) -> Settings {
        let ui = &user.ui;
        let set = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.trim().is_empty())
        };
        let linux = std::env::var_os("TERM").is_some_and(|term| term == "linux");
        let links = ui
            .links
            .unwrap_or_else(|| supports_hyperlinks::on(supports_hyperlinks::Stream::Stdout));
        let editor = ui
            .editor
            .clone()
            .or_else(|| set("VISUAL"))
            .or_else(|| set("EDITOR"));
        let pager = ui.pager.clone().or_else(|| set("PAGER"));
        Settings {
            keys: user.keys.clone(),
            look: Look {
                colours,
                ascii: ui.ascii || linux,
                links,
            },
            editor: editor.unwrap_or_else(|| "vi".to_owned()),
            pager: pager.unwrap_or_else(|| "less".to_owned()),
            link: ui.link.clone().unwrap_or_else(file_link),
            wrap_log: ui.wrap_log,
            wrap_problems: ui.wrap_problems,
            mouse: ui.mouse,
            files: files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            scratch,
        }
    }
}

/// The file itself, on this machine: terminals open no other one's.
fn file_link() -> String {
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("file://{}{{path}}#L{{line}}", host.to_string_lossy())
}

/// What the screen has the loop do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Ask the supervisor.
    Ask(Request),
    /// Give a line to the server's stdin; none closes it.
    Type(Option<String>),
}

/// The screen's thread, from outside.
pub struct Screen {
    shared: Arc<Shared>,
    bell: Sender<Message>,
    thread: JoinHandle<()>,
    gone: Receiver<()>,
}

enum Message {
    /// Something was printed, or there is another overview.
    Look,
    /// Something was typed.
    Typed(Event),
    /// The terminal has another size.
    Resized,
    /// Somebody asks to stop until continued.
    Stop,
    /// It goes on.
    Continued,
    /// The end.
    Leave,
}

impl Screen {
    /// Takes the terminal. `wish` must not wait.
    ///
    /// # Errors
    /// The terminal cannot be set up.
    pub fn start(
        settings: Settings,
        printed: &Printed,
        notice: ScreenNotice,
        wish: impl Fn(Wish) + Send + 'static,
    ) -> Result<Screen> {
        let (bell, inbox) = channel();
        let shared = Arc::clone(&printed.0);
        *shared.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell.clone());
        // Whoever printed before has rung where nobody heard it, and would never ring again.
        shared.rung.store(false, Ordering::Release);
        shared.ring();
        let typed = bell.clone();
        let input = Input::start(move |event| typed.send(Message::Typed(event)).is_ok())?;
        listen(bell.clone())?;
        let terminal = Terminal::new(settings.mouse).context("cannot use the terminal")?;
        terminal::tells(&notice);
        let ui = Ui::new(settings.wrap_log, settings.wrap_problems, settings.mouse);
        let (alive, gone) = channel();
        let mut run = Run {
            printed: printed.clone(),
            settings,
            terminal,
            chrome: Chrome::new(anstyle_progress::supports_term_progress(true)),
            input,
            ui,
            overview: None,
            excerpts: Excerpts::default(),
            wish: Box::new(wish),
            notice,
            gone: None,
            drawn_at: None,
            due: true,
        };
        let thread = thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                let _alive: Sender<()> = alive;
                run.enter();
                run.run(&inbox);
            })
            .context("cannot start a thread")?;
        Ok(Screen {
            shared,
            bell,
            thread,
            gone,
        })
    }

    /// Shows this from now on.
    pub fn show(&self, overview: Overview) {
        *self
            .shared
            .latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(overview);
        self.shared.ring();
    }

    /// Gives the terminal back. A terminal that takes no more bytes cannot keep devwatch from ending.
    pub fn leave(self) {
        let _ = self.bell.send(Message::Leave);
        visit::hang_up();
        match self.gone.recv_timeout(LEAVE_LIMIT) {
            Err(RecvTimeoutError::Disconnected) => _ = self.thread.join(),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
        terminal::leave_for_good();
    }

    /// Says something on the terminal, if that is still ours and takes it: after [`Screen::leave`].
    pub fn say_last(text: &str) {
        if terminal::in_foreground() {
            crate::terminal::write_within(io::stderr(), text.as_bytes(), LAST_LIMIT);
        }
    }
}

/// Hears what is said about the terminal.
fn listen(bell: Sender<Message>) -> Result<()> {
    let mut signals =
        Signals::new([SIGWINCH, SIGTSTP, SIGCONT]).context("cannot listen to signals")?;
    thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                failpoint::pass();
                let message = match signal {
                    SIGWINCH => Message::Resized,
                    SIGTSTP => Message::Stop,
                    _ => Message::Continued,
                };
                if bell.send(message).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// The thread itself.
struct Run {
    printed: Printed,
    settings: Settings,
    terminal: Terminal,
    chrome: Chrome,
    input: Input,
    ui: Ui,
    overview: Option<Overview>,
    excerpts: Excerpts,
    wish: Box<dyn Fn(Wish) + Send>,
    /// For the guardian, which leaves the screen if devwatch cannot.
    notice: ScreenNotice,
    /// Since when there is no terminal any more.
    gone: Option<Instant>,
    drawn_at: Option<Instant>,
    /// Something has happened since.
    due: bool,
}

impl Run {
    #[expect(clippy::disallowed_methods, reason = "this is the screen's clock")]
    fn run(&mut self, inbox: &Receiver<Message>) {
        loop {
            let now = Instant::now();
            let wait = self.wait(now);
            if wait.is_some_and(|wait| wait.is_zero()) {
                self.draw(now);
                continue;
            }
            let received = match wait {
                Some(wait) => inbox.recv_timeout(wait),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(Message::Leave) | Err(RecvTimeoutError::Disconnected) => {
                    self.give_back();
                    return;
                }
                Ok(message) => self.hear(message, Instant::now()),
                Err(RecvTimeoutError::Timeout) if Terminal::is_up() => self.due = true,
                Err(RecvTimeoutError::Timeout) => self.come_back(now),
            }
        }
    }

    /// How long nothing is to be drawn. None: until something happens. A job that runs in the background is not told when it
    /// comes to the foreground: it has to look.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if !Terminal::is_up() {
            return Some(AWAY_TICK);
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let frame = self
            .drawn_at
            .map_or(Duration::ZERO, |at| FRAME.saturating_sub(since(at)));
        if self.due {
            return Some(frame);
        }
        let tick = self.tick();
        let tick = tick.and_then(|tick| Some(tick.saturating_sub(since(self.drawn_at?))));
        let toast = self
            .ui
            .deadline()
            .map(|at| at.saturating_duration_since(now));
        let next = [tick, toast].into_iter().flatten().min();
        next.map(|next| next.max(frame).max(Duration::from_millis(1)))
    }

    /// How often what is shown changes although nothing happens.
    fn tick(&self) -> Option<Duration> {
        let status = &self.overview.as_ref()?.status;
        let resting = status.activity == Activity::Resting;
        match (resting, status.serving, status.freshness) {
            (false, _, _) => Some(BUSY_TICK),
            // Its time of service is shown in seconds.
            (true, Some(_), Freshness::Fresh | Freshness::Stale(_)) => Some(CLOCK_TICK),
            (true, _, _) => None,
        }
    }

    fn hear(&mut self, message: Message, now: Instant) {
        failpoint::pass();
        self.due = true;
        match message {
            Message::Look => {
                self.printed.0.rung.store(false, Ordering::Release);
                self.look();
            }
            Message::Typed(event) => self.typed(&event, now),
            // It may have had other sizes in between, and nobody knows what it has made of them.
            Message::Resized => self.terminal.forget(),
            Message::Stop => {
                if let Err(error) = self.stop() {
                    self.ui.say(format!("{error:#}"), now);
                }
            }
            Message::Continued => self.go_on(),
            Message::Leave => unreachable!("handled by the loop"),
        }
    }

    /// Takes the latest overview.
    fn look(&mut self) {
        let mut latest = self
            .printed
            .0
            .latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(overview) = latest.take() else {
            return;
        };
        drop(latest);
        let known = self.overview.as_ref();
        let problems = known.map(|known| &known.problems) != Some(&overview.problems);
        let crash = known.map(|known| &known.crash) != Some(&overview.crash);
        if problems || crash {
            self.excerpts = Excerpts::read(&overview.problems);
            self.excerpts.add(&overview.crash);
        }
        self.overview = Some(overview);
    }

    fn typed(&mut self, event: &Event, now: Instant) {
        let Some(overview) = self.overview.clone() else {
            // Before anything is known, one can still leave.
            if let Event::Key(key) = event
                && self.settings.keys.action(key) == Some(Action::Quit)
            {
                (self.wish)(Wish::Ask(Request::Quit { code: 0 }));
            }
            return;
        };
        let wanted = {
            let logs = self.printed.logs();
            let log = view::main_log(&overview, &logs.app, &logs.build);
            let context = Context {
                overview: &overview,
                log,
                now,
            };
            match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    match self.ui.prompt_key(key, &context) {
                        Some(wanted) => wanted,
                        None => match self.settings.keys.action(key) {
                            Some(action) => self.ui.act(action, &context),
                            None => Vec::new(),
                        },
                    }
                }
                Event::Paste(text) => {
                    self.ui.typed(text, log);
                    Vec::new()
                }
                Event::Mouse(mouse) => {
                    let up = mouse.kind == MouseEventKind::ScrollUp;
                    let down = mouse.kind == MouseEventKind::ScrollDown;
                    let action = up.then_some(Action::Up).or(down.then_some(Action::Down));
                    let three = action.into_iter().flat_map(|action| [action; 3]);
                    three
                        .flat_map(|action| self.ui.act(action, &context))
                        .collect()
                }
                Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Resize(..) => {
                    Vec::new()
                }
            }
        };
        for wanted in wanted {
            if let Err(error) = self.carry_out(wanted, &overview) {
                self.ui.say(format!("{error:#}"), now);
            }
        }
    }

    fn carry_out(&mut self, wanted: Do, overview: &Overview) -> Result<()> {
        match wanted {
            Do::Ask(request) => (self.wish)(Wish::Ask(request)),
            Do::Type(line) => (self.wish)(Wish::Type(Some(line))),
            Do::CloseInput => (self.wish)(Wish::Type(None)),
            Do::Mark => self
                .printed
                .write(|logs| logs.app.mark(&plain::time_of_day(Duration::ZERO))),
            Do::Mouse(on) => self.terminal.mouse(on)?,
            Do::Suspend => self.stop()?,
            Do::Redraw => self.terminal.forget(),
            Do::Browse(url) => {
                let chosen = std::env::var("BROWSER").ok();
                visit::launch(&visit::browser(chosen.as_deref(), &url), None)?;
            }
            Do::Copy(text, lines) => self.copy(text, lines)?,
            Do::Edit(place) => self.edit(overview, place)?,
            Do::Page(printed) => self.page(printed)?,
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the screen's clock")]
    fn copy(&mut self, text: String, lines: usize) -> Result<()> {
        let mut sequence = String::new();
        CopyToClipboard::to_clipboard_from(&text).write_ansi(&mut sequence)?;
        self.terminal.say(sequence.as_bytes())?;
        // The terminal may not do it, and never says so; the desktop does.
        if let Some(argv) = visit::clipboard() {
            let _ = visit::launch(&argv, Some(text));
        }
        let s = if lines == 1 { "" } else { "s" };
        self.ui
            .say(format!("copied {lines} line{s}"), Instant::now());
        Ok(())
    }

    fn edit(&mut self, overview: &Overview, place: usize) -> Result<()> {
        let problems = self.ui.problems(overview);
        let Some(problem) = problems.list.get(place) else {
            return Ok(());
        };
        let file = problem.file.as_deref().context("that file is not there")?;
        let column = problem.column.unwrap_or(1);
        let visit = visit::editor(&self.settings.editor, file, problem.line, column);
        let visit = visit.with_context(|| format!("no command: {}", self.settings.editor))?;
        match visit.windowed {
            true => visit::launch(&visit.argv, None),
            false => self.receive(&visit),
        }
    }

    /// Shows everything that is kept, as it was printed.
    fn page(&mut self, printed: ui::Printed) -> Result<()> {
        let file = self
            .settings
            .scratch
            .join(format!("log-{}", std::process::id()));
        // A disk may be slow, and whoever prints waits for the logs.
        let mut kept = Vec::new();
        self.printed.read(|logs| match printed {
            ui::Printed::App => logs.app.write_raw(&mut kept),
            ui::Printed::Build => logs.build.write_raw(&mut kept),
        })?;
        let written = private(&file).and_then(|mut out| out.write_all(&kept));
        written.with_context(|| format!("cannot write {}", file.display()))?;
        let visit = visit::pager(&self.settings.pager, &file);
        let visit = visit.with_context(|| format!("no command: {}", self.settings.pager));
        let shown = visit.and_then(|visit| self.receive(&visit));
        let _ = std::fs::remove_file(&file);
        shown
    }

    /// Somebody else has the terminal for a while.
    fn receive(&mut self, visit: &visit::Visit) -> Result<()> {
        self.give_back();
        let result = visit::receive(visit);
        self.enter();
        result
    }

    /// Stops as Ctrl-Z asks, with everybody else of the job; the children go on.
    ///
    /// # Errors
    /// Nobody could continue it: devwatch is all that runs in this terminal.
    fn stop(&mut self) -> Result<()> {
        ensure!(
            tree::can_be_continued(),
            "cannot stop: no shell is there that could continue devwatch"
        );
        self.give_back();
        let _ = kill(Pid::from_raw(0), Signal::SIGSTOP);
        Ok(())
    }

    /// We were stopped. If nobody asked us to (SIGSTOP), the shell has the terminal, or has just given it back.
    fn go_on(&mut self) {
        if Terminal::is_up() {
            self.input.pause();
            Terminal::lost_to_another();
        }
        self.enter();
    }

    fn enter(&mut self) {
        // Before the guardian hears of a screen that will not be there.
        if self.gone.is_some() || !Terminal::may_enter() {
            return;
        }
        self.notice.tell(true);
        match self.terminal.enter() {
            Ok(true) => {
                self.input.resume();
                self.chrome.forget();
                (self.due, self.drawn_at) = (true, None);
            }
            // In the background, or already there.
            Ok(false) => self.notice.tell(Terminal::is_up()),
            Err(_) => self.lost(),
        }
    }

    fn give_back(&mut self) {
        self.input.pause();
        let around = self.chrome.clear();
        if Terminal::is_up() && !around.is_empty() {
            let _ = self.terminal.say(around.as_bytes());
        }
        // If the terminal would not take it, the guardian tries again in the end.
        let left = self.terminal.leave();
        self.notice.tell(!left);
    }

    /// The screen is not up: is it its time again?
    fn come_back(&mut self, now: Instant) {
        let Some(gone) = self.gone else {
            self.enter();
            return;
        };
        let quits = |overview: &Overview| overview.status.activity == Activity::Quitting;
        let waited = now.saturating_duration_since(gone) >= HANGUP_LIMIT;
        if waited && !self.overview.as_ref().is_some_and(quits) {
            // Once: a second request would kill what is about to stop.
            self.gone = Some(now + NEVER);
            (self.wish)(Wish::Ask(Request::Quit { code: HANGUP }));
        }
    }

    /// The terminal is gone. Its signal ends devwatch; where none comes, nobody is there to look at anything all the same.
    #[expect(clippy::disallowed_methods, reason = "this is the screen's clock")]
    fn lost(&mut self) {
        self.give_back();
        self.gone = Some(Instant::now());
    }

    fn draw(&mut self, now: Instant) {
        (self.due, self.drawn_at) = (false, Some(now));
        let Some(overview) = &self.overview else {
            return;
        };
        let mut buffer = Buffer::empty(self.terminal.size());
        {
            let logs = self.printed.logs();
            let log = view::main_log(overview, &logs.app, &logs.build);
            self.due = !self.ui.prepare(overview, log, now);
            let scene = Scene {
                overview,
                app: &logs.app,
                build: &logs.build,
                ui: &self.ui,
                excerpts: &self.excerpts,
                keys: &self.settings.keys,
                files: &self.settings.files,
                link: &self.settings.link,
                look: self.settings.look,
                now,
                clock: &|instant| plain::time_of_day(now.saturating_duration_since(instant)),
            };
            let room = view::draw(&scene, &mut buffer);
            self.ui.saw(room);
        }
        let around = self.chrome.update(overview, now);
        if self.terminal.draw(buffer, &around).is_err() {
            self.lost();
        }
    }
}

/// devwatch ends on the spot: the terminal is given back, whoever had it.
pub fn leave_at_once() {
    terminal::leave_for_good();
}

/// From here on a panic in any thread ends devwatch, screen or not, with the terminal as it was found: with a thread
/// less it would go on and do nothing. The guardian cleans up behind it.
pub fn end_on_panic() {
    terminal::leave_on_panic();
}

/// A file that nobody else can read, and that was not there.
fn private(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// At most 30 frames a second.
const FRAME: Duration = Duration::from_millis(33);
/// While something goes on, its time is shown in tenths of a second.
const BUSY_TICK: Duration = Duration::from_millis(100);
/// The time of service is shown in seconds.
const CLOCK_TICK: Duration = Duration::from_secs(1);
/// How soon the screen is there again after `fg`, where the shell does not say so.
const AWAY_TICK: Duration = Duration::from_millis(250);
/// How long the screen may take to give the terminal back.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);
/// How long after the loss of the terminal its signal is waited for.
const HANGUP_LIMIT: Duration = Duration::from_secs(1);
/// Longer than anything lasts.
const NEVER: Duration = Duration::from_secs(365 * 86400);
/// Milliseconds for the last lines.
const LAST_LIMIT: u16 = 500;
/// As after SIGHUP.
const HANGUP: i32 = 129;
