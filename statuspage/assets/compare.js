// The page asks for itself every two seconds, and takes over what has changed. Without
// this script it loads itself again.
'use strict';

const POLL = 2000;
const PARTS = ['.top .verdict', '#link', 'thead', 'tbody', '#hidden'];
const $ = (selector) => document.querySelector(selector);
let heard = Date.now();

async function ask() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.search || '?', {headers: {Accept: 'text/html'}, signal: AbortSignal.timeout(5 * POLL)});
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (answer.ok && page.body.dataset.edition !== document.body.dataset.edition) location.reload();
      if (answer.ok) take(page);
    } catch {
      // say tells how long nothing was heard
    }
    say();
  }
  setTimeout(ask, POLL);
}

// take keeps the focus where it is: on a link of the head, or on a line.
function take(page) {
  heard = Date.now();
  const focus = document.activeElement.closest('thead') && document.activeElement.href;
  const line = document.activeElement.closest('tbody th')?.dataset.who;
  for (const part of PARTS) $(part).replaceChildren(...page.querySelector(part).childNodes);
  if (focus) [...document.querySelectorAll('thead a')].find((a) => a.href === focus)?.focus();
  if (line) ([...document.querySelectorAll('tbody th')].find((th) => th.dataset.who === line) || $('.scroll')).focus();
  $('.top').dataset.level = page.querySelector('.top').dataset.level;
  document.title = page.title;
  $('#icon').setAttribute('href', page.querySelector('#icon').getAttribute('href'));
}

function say() {
  const silent = Date.now() - heard;
  const lost = silent > 3 * POLL;
  document.body.classList.toggle('stale', lost);
  if (lost) $('#link').textContent = `No answer for ${Math.floor(silent / 1000)} s: the program of this page may have ended. What stands here is old.`;
}

// The arrows go from line to line, from the table and its head into the first one.
document.addEventListener('keydown', (event) => {
  const table = document.activeElement.closest('.scroll');
  if (!table || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = [...table.querySelectorAll('tbody th')];
  const at = all.indexOf(document.activeElement);
  const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (all[to]) all[to].focus();
});

document.addEventListener('visibilitychange', () => { heard = Date.now(); });
if (!('paused' in document.body.dataset)) setTimeout(ask, POLL);
