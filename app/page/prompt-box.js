// The text area for the prompt. There is one, which moves to the view that is shown, so its text is never lost.

import { announce, button, fill, h } from './dom.js';
import { count, plural } from './format.js';
import { fetchPrompt, hover, promptText, session } from './session.js';
import { state } from './state.js';
import { Work } from './work.js';

const listeners = [];
/** Calls `listener` when there is another prompt. */
export const onPrompt = (listener) => listeners.push(listener);

let box = null;

function build() {
  const work = new Work();
  const area = h('textarea', { id: 'prompt', rows: 2, spellcheck: false, autocomplete: 'off', title: 'The text that the model reads' });
  const submit = button('Submit', 'Run the model on this text (Ctrl+Enter)', () => run(area.value), { id: 'submit', class: 'primary' });
  const sides = h('span', { class: 'quiet', id: 'prompt-facts' });
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run(area.value);
    }
  });
  let asked = null; // the text that was asked for last, so that a failure is not repeated by itself
  let written = null; // the text of the state that the area shows

  async function run(text, { quietly = false } = {}) {
    asked = text;
    const prompt = await work.run('Running the model on the prompt', (options) => fetchPrompt(text, options),
      { retry: () => run(area.value) });
    if (!prompt) return;
    const another = session.prompt?.text !== text;
    session.prompt = prompt;
    hover();
    if (!quietly && promptText() !== text) {
      state.go({ prompt: text === session.info.prompt ? null : text, position: null, to: null, chosen: '' });
    }
    written = text;
    if (another) announce(`The prompt has ${plural(prompt.length, 'token')}.`);
    for (const listener of listeners) listener();
  }

  const element = h('section', { class: 'card prompt-box', 'aria-label': 'Prompt' },
    h('label', { for: 'prompt' }, 'Prompt'), area, h('div', { class: 'row' }, submit, sides), work.element);
  return {
    element,
    /** Shows the text of the state and asks for it, if that is another one. */
    update() {
      const text = promptText();
      if (written !== text) {
        written = text;
        area.value = text;
      }
      if (session.prompt?.text !== text && asked !== text) run(text, { quietly: true });
      else if (session.prompt?.text === text) asked = text;
      const { limits } = session.info;
      fill(sides, session.prompt ? `${plural(session.prompt.length, 'token')} of at most ${count(limits.prompt_tokens)}`
        : `At most ${plural(limits.prompt_tokens, 'token')}`);
    },
  };
}

/** Puts the box into `slot` and brings it up to date. */
export function placePrompt(slot) {
  box ??= build();
  if (box.element.parentElement !== slot) slot.append(box.element);
  box.update();
}
