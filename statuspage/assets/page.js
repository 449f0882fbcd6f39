// Keeps the page as the process is. The server has made all of the page: this
// script only writes what has changed into it, and the page works without it.
'use strict';

const POLL = 2000;   // ms between two questions where the server cannot tell
const DEAF = 5000;   // ms after which a stream that says nothing is given up
const QUIET = 12000; // ms without a word after which the page is old: the server says something every 5 s
const HIDE = 10000;  // ms that a page in the background stays linked
const REACHES = [60, 120, 300, 900]; // seconds that a strip may show
const EVENTS = 200;

const $ = (selector) => document.querySelector(selector);
const body = document.body;

let rows;            // of data-row: {element, cells: key -> elements}
let version = Number(body.dataset.version);
let skew = Date.now() - Number(body.dataset.now); // of the two clocks
let stream = null, poll = 0, deaf = 0, hide = 0;
let heard = Date.now(); // when the server last answered
let reloading = false;

const now = () => Date.now() - skew;
const paused = () => 'paused' in body.dataset;

// ---- what changes

function index() {
  rows = new Map();
  for (const element of document.querySelectorAll('[data-row]')) {
    const cells = new Map();
    for (const cell of element.querySelectorAll('[data-k]')) {
      const key = cell.dataset.k;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(cell);
    }
    rows.set(element.dataset.row, {element, cells});
  }
}

function lasting(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

function span(as, stamp) {
  if (!stamp) return '';
  const past = now() - Number(stamp);
  if (as === 'ago') return `${lasting(past)} ago`;
  if (as === 'for') return `for ${lasting(past)}`;
  return past < 0 ? `in ${lasting(-past)}` : 'now';
}

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function write(cell, value) {
  switch (cell.dataset.as) {
    case 'ago': case 'for': case 'in':
      cell.dataset.v = value;
      text(cell, span(cell.dataset.as, value));
      break;
    case 'd': cell.setAttribute('d', value); break;
    case 'label': cell.setAttribute('aria-label', value); break;
    case 'shape': cell.setAttribute('href', `#s-${value}`); break;
    default: text(cell, value);
  }
}

function apply(news) {
  heard = Date.now();
  skew = Date.now() - news.now;
  if (news.shape !== body.dataset.shape) {
    reload();
    return;
  }
  version = news.version;
  for (const [number, values] of Object.entries(news.rows)) {
    const row = rows.get(number);
    if (!row) continue;
    for (const [key, value] of Object.entries(values)) {
      if (key === 'level' || key === 'kind') row.element.dataset[key] = value;
      for (const cell of row.cells.get(key) || []) write(cell, value);
    }
    if (number === '0') head();
  }
  happened(news.events || []);
}

// head brings the tab's title and icon in line with the page's first line.
function head() {
  const row = rows.get('0');
  document.title = `${row.cells.get('word')[0].textContent}: ${body.dataset.title}`;
  const href = `?asset=${row.element.dataset.level}.svg&v=${body.dataset.edition}`;
  if ($('#icon').getAttribute('href') !== href) $('#icon').setAttribute('href', href);
}

function happened(events) {
  const list = $('#eventlist');
  for (const e of events) {
    const item = $('#event').content.firstElementChild.cloneNode(true);
    item.dataset.level = e.level;
    item.querySelector('use').setAttribute('href', `#s-${e.shape}`);
    item.querySelector('time').textContent = e.time;
    item.querySelector('time').dateTime = e.stamp;
    item.querySelector('b').textContent = `${e.cluster} ${e.node}`;
    item.querySelector('span').textContent = e.text;
    list.prepend(item);
  }
  while (events.length && list.children.length > EVENTS) list.lastElementChild.remove();
}

// reload takes the page anew, for its clusters or nodes are other ones.
async function reload() {
  if (reloading) return;
  reloading = true;
  try {
    const answer = await fetch(location.search || '?', {headers: {Accept: 'text/html'}});
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (!answer.ok || page.body.dataset.edition !== body.dataset.edition) {
      if (answer.ok) location.reload();
      return;
    }
    const open = new Set([...document.querySelectorAll('details.node[open]')].map((d) => d.dataset.who));
    const here = document.activeElement.closest('details.node');
    for (const name of ['shape', 'version', 'now', 'base', 'began']) body.dataset[name] = page.body.dataset[name];
    for (const selector of ['main', '#eventlist', '.top .verdict']) $(selector).replaceWith(page.querySelector(selector));
    for (const node of document.querySelectorAll('details.node')) {
      if (open.has(node.dataset.who)) node.open = true;
      if (here && here.dataset.who === node.dataset.who) node.firstElementChild.focus();
    }
    $('.top').dataset.level = page.querySelector('.top').dataset.level;
    version = Number(body.dataset.version);
    index();
    head();
    pass();
    unlink();
    link();
  } catch {
    // The next news asks for it again.
  } finally {
    reloading = false;
  }
}

// ---- what time changes

function pass() {
  for (const cell of document.querySelectorAll('[data-as="ago"], [data-as="for"], [data-as="in"]')) {
    text(cell, span(cell.dataset.as, cell.dataset.v));
  }
  const end = Math.floor((now() - Number(body.dataset.base)) / 1000);
  if (end % 3 === 0) { // a strip has about 300 points
    const age = (now() - Number(body.dataset.began)) / 1000;
    const width = REACHES.find((r) => age <= r) || REACHES.at(-1);
    const box = `${end - width} 0 ${width} 10`;
    text($('#reach'), width === 60 ? 'the last minute' : `the last ${width / 60} minutes`);
    for (const strip of document.querySelectorAll('.strip')) strip.setAttribute('viewBox', box);
  }
  say();
}

function say() {
  const silent = Date.now() - heard;
  const broken = stream && stream.readyState === EventSource.CONNECTING;
  const lost = !paused() && !document.hidden && silent > (broken ? 3000 : QUIET);
  body.classList.toggle('stale', lost);
  const how = stream ? 'Live.' : poll ? 'Asks every two seconds.' : 'Connecting …';
  text($('#link'), paused() ? 'Paused: it does not change by itself.'
    : lost ? `No answer for ${lasting(silent)}: the process may have ended. What stands here is old.` : how);
}

// ---- how news come

function link() {
  if (paused() || stream || poll) return;
  const source = new EventSource(`?stream=${version}`);
  stream = source;
  deaf = setTimeout(ask, DEAF);
  source.onmessage = (message) => {
    clearTimeout(deaf);
    apply(JSON.parse(message.data));
  };
  source.onerror = () => {
    // A browser tries again by itself, but not after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED && stream === source) ask();
  };
}

function unlink() {
  clearTimeout(deaf);
  clearTimeout(poll);
  if (stream) stream.close();
  stream = null;
  poll = 0;
}

async function ask() {
  unlink();
  if (paused()) return;
  const turn = poll = setTimeout(ask, POLL);
  try {
    const answer = await fetch(`?news=${version}`);
    if (answer.ok && poll === turn) apply(await answer.json());
  } catch {
    // say tells how long nothing was heard
  }
}

// ---- what the reader does

// turn changes the view without loading the page. The address follows, so that
// it can be kept or passed on.
function turn(link, on, off, change) {
  link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const is = change();
    text(link, is ? off : on);
    address();
  });
}

function address() {
  const parts = [];
  if ($('main').classList.contains('ill')) parts.push('only=ill');
  if (body.dataset.all) parts.push('figures=all');
  if (paused()) parts.push('refresh=off');
  const query = `?${parts.join('&')}`;
  history.replaceState(null, '', query + location.hash);
  for (const form of document.querySelectorAll('form')) form.setAttribute('action', query);
}

if (new URLSearchParams(location.search).get('figures') === 'all') body.dataset.all = '1';

turn($('#t-ill'), 'only what is not well', 'show all nodes', () => $('main').classList.toggle('ill'));
turn($('#t-all'), 'all figures', 'fewer figures', () => {
  if (body.dataset.all) delete body.dataset.all; else body.dataset.all = '1';
  for (const node of document.querySelectorAll('details.node')) node.open = Boolean(body.dataset.all);
  return Boolean(body.dataset.all);
});
turn($('#t-pause'), 'pause', 'go on', () => {
  if (paused()) {
    delete body.dataset.paused;
    link();
  } else {
    body.dataset.paused = '';
    unlink();
  }
  say();
  return paused();
});

// The arrows go from node to node.
document.addEventListener('keydown', (event) => {
  const here = document.activeElement.closest('details.node > summary');
  if (!here || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = [...document.querySelectorAll('details.node > summary')].filter((s) => s.offsetParent !== null);
  const at = all.indexOf(here);
  const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (all[to]) all[to].focus();
});

// A page that nobody sees costs nothing.
document.addEventListener('visibilitychange', () => {
  clearTimeout(hide);
  if (document.hidden) hide = setTimeout(unlink, HIDE);
  else {
    heard = Date.now();
    link();
  }
});

index();
link();
pass();
setInterval(pass, 1000);
