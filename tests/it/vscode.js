// What VS Code makes of a task's output, by its own rules (WatchingProblemCollector and the line matcher of its
// sources), with the matcher of a tasks.json. For tests: node vscode.js TASKS_JSON OUTPUT
//
// Prints as JSON what is marked after each line of devwatch's that begins or ends a build, and how often the task
// was told to be busy and idle.
'use strict';

const fs = require('fs');

const OTHER = 'another extension';

/** Who has marked what: owner, file, markers. */
class Markers {
  constructor() {
    this.byOwner = new Map();
  }

  of(owner) {
    if (!this.byOwner.has(owner)) this.byOwner.set(owner, new Map());
    return this.byOwner.get(owner);
  }
}

/** A pattern as VS Code completes it: where a group is not named, these are meant. */
function completed(pattern) {
  const { regexp, column, ...named } = pattern;
  if (column !== undefined) named.character = column;
  return { regexp: new RegExp(regexp), file: 1, line: 2, character: 3, message: 0, ...named };
}

/** A begin or end pattern; group 1, if there is one, is the only file that is cleaned. */
function watching(pattern) {
  return typeof pattern === 'string'
    ? { regexp: new RegExp(pattern), file: 1 }
    : { regexp: new RegExp(pattern.regexp), file: pattern.file };
}

function severity(word) {
  const known = { error: 'error', warning: 'warning', warn: 'warning', info: 'info', hint: 'info', note: 'info' };
  return known[(word || '').toLowerCase()] || 'error';
}

class Collector {
  constructor(matcher, markers) {
    if (matcher.fileLocation !== 'absolute') throw new Error('only absolute paths are re-enacted');
    this.owner = matcher.owner;
    this.markers = markers;
    this.pattern = completed(matcher.pattern);
    this.begins = watching(matcher.background.beginsPattern);
    this.ends = watching(matcher.background.endsPattern);
    this.active = false;
    this.busy = 0;
    this.idle = 0;
    this.toClean = new Set();
    this.found = new Map();
    this.delivered = new Map();
    this.current = undefined;
    if (matcher.background.activeOnStart) {
      this.active = true;
      this.busy += 1;
      this.cleanLater();
    }
  }

  line(text) {
    if (this.begin(text) || this.end(text)) return;
    const marker = this.match(text);
    if (!marker) return;
    this.toClean.delete(marker.file);
    if (!this.found.has(marker.file)) this.found.set(marker.file, new Map());
    const { file, ...rest } = marker;
    const key = JSON.stringify(rest);
    if (!this.found.get(file).has(key)) this.found.get(file).set(key, rest);
    if (this.current !== file) {
      this.deliver();
      this.current = file;
    }
  }

  begin(text) {
    const matches = this.begins.regexp.exec(text);
    // One that is told to begin while it is busy goes on.
    if (!matches || this.active) return false;
    this.active = true;
    this.busy += 1;
    this.forget();
    const file = matches[this.begins.file];
    if (file) this.toClean.add(file);
    else this.cleanLater();
    return true;
  }

  end(text) {
    if (!this.ends.regexp.test(text) || !this.active) return false;
    this.active = false;
    this.deliver();
    this.current = undefined;
    this.idle += 1;
    for (const file of this.toClean) this.markers.of(this.owner).delete(file);
    this.toClean.clear();
    this.forget();
    return true;
  }

  /** What is marked now goes at the end, unless it is found again. */
  cleanLater() {
    for (const file of this.markers.of(this.owner).keys()) this.toClean.add(file);
  }

  forget() {
    this.deliver();
    this.current = undefined;
    this.found.clear();
    this.delivered.clear();
  }

  deliver() {
    const found = this.found.get(this.current);
    if (!found || found.size === this.delivered.get(this.current)) return;
    this.markers.of(this.owner).set(this.current, [...found.values()]);
    this.delivered.set(this.current, found.size);
  }

  match(text) {
    const matches = this.pattern.regexp.exec(text);
    if (!matches) return undefined;
    const group = (name) => {
      const at = this.pattern[name];
      const value = at === undefined ? undefined : matches[at];
      return value === undefined ? undefined : value.trim();
    };
    const [file, message, line] = ['file', 'message', 'line'].map(group);
    if (!file || !message || !line) return undefined;
    const column = group('character');
    return {
      file: require('path').posix.normalize(file),
      line: parseInt(line),
      column: column ? parseInt(column) : 1,
      severity: severity(group('severity')),
      message,
      code: group('code'),
    };
  }
}

const [tasks, output] = process.argv.slice(2).map((path) => fs.readFileSync(path, 'utf8'));
const task = JSON.parse(tasks).tasks[0];
const markers = new Markers();
const collector = new Collector(task.problemMatcher, markers);
const groups = new RegExp(task.problemMatcher.background.beginsPattern + '|').exec('').length - 1;
const steps = [];
for (const text of output.split('\n')) {
  collector.line(text);
  const told = /^devwatch: (build \d+ (?:begin|end \w+))/.exec(text);
  if (!told) continue;
  const marked = [];
  for (const [file, list] of markers.of(collector.owner)) {
    for (const m of list) {
      const code = m.code === undefined ? '' : ` [${m.code}]`;
      marked.push(`${file}:${m.line}:${m.column} ${m.severity} ${m.message}${code}`);
    }
    // Another one has marked the same file: that is none of the task's business.
    markers.of(OTHER).set(file, ['its own']);
  }
  steps.push({ after: told[1], marked });
}
const others = [...markers.of(OTHER).values()].flat().length;
const { busy, idle } = collector;
const background = task.isBackground === true;
console.log(JSON.stringify({ background, groups, busy, idle, others, steps }));
