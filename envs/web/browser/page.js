// The rules of a page in the browser. The same rules, compiled, are in envs/web/events.py and keys.py;
// the tests hold both to the same tables.
"use strict";
(() => {
  window.name = "";
  const model = JSON.parse(document.getElementById("model").textContent);
  const { elements, begin, scroll, kinds: K, thens: T, keys: KEY } = model;
  const nodes = elements.map((_, e) => document.querySelector(`[data-e="${e}"]`));
  const sections = [...document.querySelectorAll("section")];
  const area = document.querySelector(".scroll");
  const form = document.getElementById("form");
  const number = elements.map(() => -1);
  const switched = elements.map(() => false);
  const tampered = elements.map(() => false);
  let page = 0, open = -1, pressed = -1, targeted = -1, month = 0;
  let outcome = "open", sending = null;
  const MONTHS = 24, FIRST = Date.UTC(2017, 0, 1), DAY = 86400000;
  const TODAY = (Date.UTC(2017, 2, 1) - FIRST) / DAY;
  const start = (m) => (Date.UTC(2017, m, 1) - FIRST) / DAY;

  const isWritable = (kind) => kind >= K.INPUT && kind <= K.AUTOCOMPLETE;
  const isPopup = (e) => e >= 0 && elements[e].popup;
  const canFocus = (e) => e >= 0 && elements[e].kind !== K.TEXT && elements[e].kind !== K.BOX;
  const visible = (e) => nodes[e].getClientRects().length > 0;
  const isOn = (e) => [K.CHECKBOX, K.RADIO].includes(elements[e].kind) ? nodes[e].checked : switched[e];
  const indexOf = (node) => node && node.dataset && node.dataset.e !== undefined ? Number(node.dataset.e) : -1;
  const focused = () => indexOf(document.activeElement);

  function monthOf(day) {
    let m = 0;
    while (start(m + 1) <= (day < 0 ? TODAY : day)) m += 1;
    return m;
  }

  function dateText(day) {
    const [y, m, d] = new Date(FIRST + day * DAY).toISOString().slice(0, 10).split("-");
    return `${m}/${d}/${y}`;
  }

  // ------------------------------------------------------------------ what shows

  function fillPopup(e) {
    const { kind, low } = elements[e];
    if (kind === K.SUGGESTION) {
      const owner = elements[elements[e].parent];
      nodes[e].textContent = number[e] < 0 ? "" : owner.options[number[e]];
      return number[e] >= 0;
    }
    if (kind === K.MONTH) {
      nodes[e].textContent = model.titles[month];
    } else if (kind === K.DAY) {
      const day = low - (start(month) % 7);
      if (day < 0 || start(month) + day >= start(month + 1)) return false;
      number[e] = day + 1;
      nodes[e].textContent = String(day + 1);
    }
    return true;
  }

  function refresh() {
    sections.forEach((section, k) => { section.hidden = k !== page; });
    const shown = [];
    elements.forEach((element, e) => {
      let is = element.page === page;
      if (is && element.parent >= 0) {
        is = (element.popup ? open === element.parent : switched[element.parent]) && shown[element.parent];
        if (is && element.popup) is = fillPopup(e);
      }
      shown.push(is);
      if (nodes[e].hidden === is) nodes[e].hidden = !is;
      if (element.kind === K.TAB) nodes[e].classList.toggle("on", switched[e]);
    });
    const active = focused();
    if (active >= 0 && !shown[active]) document.activeElement.blur();
    if (open >= 0 && !shown[open]) open = -1;
  }

  // ------------------------------------------------------------------ the request

  function submit(e) {
    if (outcome !== "open") return;
    outcome = "submitted";
    const sender = document.getElementById("sender");
    sender.disabled = !elements[e].name;
    sender.name = elements[e].name;
    sender.value = elements[e].value;
    const sink = document.createElement("iframe"); // takes the answer, so that the page stays
    sink.name = "sink";
    document.body.append(sink);
    sending = new Promise((done) => { sink.addEventListener("load", done, { once: true }); });
    HTMLFormElement.prototype.submit.call(form);
    if (model.person) tell();
  }

  function leave() {
    outcome = "left";
    if (model.person) tell();
    else setTimeout(() => location.assign(`${model.root}/left`), 0);
  }

  function isEmpty(e) {
    const { kind, name } = elements[e];
    if (isWritable(kind)) return nodes[e].value === "";
    if (kind === K.RADIO) return !nodes.some((node, k) => elements[k].kind === kind && elements[k].name === name && node.checked);
    return number[e] < 0 && (kind === K.SELECT || kind === K.DATE);
  }

  // ------------------------------------------------------------------ events

  function setNumber(e, value) {
    const { low, high } = elements[e];
    number[e] = Math.min(Math.max(value, low), high);
    nodes[e].value = String(number[e]);
  }

  function slide(e, x) {
    const box = nodes[e].getBoundingClientRect();
    const { low, high } = elements[e];
    const room = Math.round(box.width) - 1;
    tampered[e] = true;
    setNumber(e, low + Math.floor((2 * (x - Math.round(box.left)) * (high - low) + room) / (2 * room)));
  }

  function setFocus(e) {
    const before = focused();
    if (e < 0) {
      if (document.activeElement) document.activeElement.blur();
      return;
    }
    nodes[e].focus({ preventScroll: true });
    toEnd(e);
    const { kind, then } = elements[e];
    if (e !== before && kind === K.INPUT && then === T.SUBMIT) {
      tampered[e] = true;
      submit(e);
    }
  }

  function toEnd(e) {
    if (isWritable(elements[e].kind)) nodes[e].setSelectionRange(nodes[e].value.length, nodes[e].value.length);
  }

  const hit = (x, y) => indexOf((document.elementFromPoint(x, y) || document.body).closest("[data-e]"));

  function press(e, x) {
    pressed = targeted = e;
    const mine = e >= 0 && (e === open || (isPopup(e) && elements[e].parent === open));
    if (open >= 0 && !mine) {
      open = -1;
      refresh();
    }
    if (isPopup(e)) return;
    setFocus(canFocus(e) ? e : -1);
    if (e >= 0 && elements[e].kind === K.SLIDER) slide(e, x);
  }

  function release(e) {
    const before = pressed;
    pressed = -1;
    if (e >= 0 && e === before) nodes[e].click();
  }

  function onClick(e) {
    const { kind, name } = elements[e];
    tampered[e] = true;
    if (kind === K.NODE) {
      switched[e] = !switched[e];
    } else if (kind === K.TAB) {
      elements.forEach((x, k) => { if (x.kind === kind && x.name === name) switched[k] = false; });
      switched[e] = true;
    } else if (kind === K.SELECT || kind === K.DATE) {
      open = open === e ? -1 : e;
      if (kind === K.DATE) month = monthOf(number[e]);
    } else if (kind === K.OPTION || kind === K.DAY || kind === K.SUGGESTION) {
      pick(e);
    }
    then(e);
    refresh();
  }

  function pick(e) {
    const owner = elements[e].parent, { kind, text } = elements[e];
    open = -1;
    tampered[owner] = true;
    if (kind === K.OPTION) {
      number[owner] = e;
      nodes[owner].value = text;
    } else if (kind === K.DAY) {
      number[owner] = start(month) + number[e] - 1;
      nodes[owner].value = dateText(number[owner]);
    } else {
      nodes[owner].value = elements[owner].options[number[e]].slice(0, model.typed);
      toEnd(owner);
    }
  }

  function then(e) {
    const { then, low, kind } = elements[e];
    if (then === T.SUBMIT && !isWritable(kind)) submit(e);
    else if (then === T.LEAVE) leave();
    else if (then === T.GO || (then === T.NEXT && isFilled())) {
      page = low;
      open = -1;
      if (document.activeElement) document.activeElement.blur();
    } else if (then === T.EARLIER) month = Math.max(month - 1, 0);
    else if (then === T.LATER) month = Math.min(month + 1, MONTHS - 1);
    else if (then === T.LESS) setNumber(low, number[low] - 1);
    else if (then === T.MORE) setNumber(low, number[low] + 1);
  }

  const isFilled = () => elements.every((x, e) => x.page !== page || !x.required || !isEmpty(e));

  function pressKey(code) {
    const e = focused();
    if (code === KEY.TAB) return focusNext();
    if (e < 0 || code === KEY.NOTHING) return;
    targeted = e;
    const { kind } = elements[e];
    if (isWritable(kind)) {
      if (code >= KEY.SPACE || code === KEY.BACKSPACE) edit(e, code);
    } else if (kind === K.SLIDER) {
      if (code === KEY.MORE || code === KEY.LESS) {
        tampered[e] = true;
        setNumber(e, number[e] + (code === KEY.MORE ? 1 : -1));
      }
    } else if (code === KEY.ENTER || code === KEY.SPACE) {
      nodes[e].click();
    }
  }

  function focusNext() {
    if (open >= 0) {
      open = -1;
      refresh();
    }
    const first = begin[page], last = begin[page + 1];
    let e = focused() >= 0 ? focused() : last - 1;
    for (let k = first; k < last; k += 1) {
      e = e + 1 < last ? e + 1 : first;
      if (visible(e) && canFocus(e)) {
        setFocus(e);
        targeted = e;
        return;
      }
    }
  }

  function edit(e, code) {
    toEnd(e);
    if (code === KEY.BACKSPACE) document.execCommand("delete");
    else document.execCommand("insertText", false, String.fromCharCode(code));
    tampered[e] = true;
    if (elements[e].kind === K.AUTOCOMPLETE) suggest(e);
  }

  function suggest(e) {
    const typed = nodes[e].value.toLowerCase(), { options } = elements[e];
    const found = options.map((_, k) => k).filter((k) => typed && options[k].toLowerCase().startsWith(typed));
    open = found.length ? e : -1;
    elements.forEach((x, k) => {
      if (x.kind === K.SUGGESTION && x.parent === e) number[k] = found.length ? found.shift() : -1;
    });
    refresh();
  }

  // ------------------------------------------------------------------ the driver's door

  function scrollTo(place) {
    area.scrollTop = Math.min(Math.max(place, 0), Math.max(scroll.content - scroll.height, 0));
  }

  function aim(row) {
    const e = begin[page] + row;
    if (e >= begin[page + 1] || !visible(e)) return null;
    if (elements[e].scrolls) {
      const y = elements[e].middle;
      const inside = y - area.scrollTop >= scroll.top && y - area.scrollTop < scroll.top + scroll.height;
      if (!inside) scrollTo(y - scroll.top - Math.floor(scroll.height / 2));
    }
    const box = nodes[e].getBoundingClientRect();
    return [Math.round(box.left) + (Math.round(box.width) >> 1), Math.round(box.top) + (Math.round(box.height) >> 1)];
  }

  const A = model.actions;

  function pointer(type, x, y) {
    const over = area && x >= scroll.left && x < scroll.left + scroll.width && y >= scroll.top && y < scroll.top + scroll.height;
    if (type === A.MOVE) {
      if (pressed >= 0 && elements[pressed].kind === K.SLIDER) slide(pressed, x);
    } else if (type === A.SCROLL_UP || type === A.SCROLL_DOWN) {
      if (over) scrollTo(area.scrollTop + (type === A.SCROLL_UP ? -model.step : model.step));
    } else {
      for (let k = type === A.DOUBLE ? 2 : 1; k > 0; k -= 1) {
        if (type !== A.UP) press(hit(x, y), x);
        if (type !== A.DOWN) release(hit(x, y));
      }
    }
  }

  function act(type, x, y, row, code, text) {
    targeted = -1;
    let kind = type <= A.SCROLL_DOWN ? type : A.NONE;
    if (type === A.CLICK_ELEMENT || type === A.FOCUS_TEXT || type === A.FOCUS_FIELD) {
      const place = aim(row);
      if (!place) return;
      [x, y] = place;
      kind = A.CLICK;
    }
    if (kind !== A.NONE) pointer(kind, x, y);
    if (type === A.PRESS_KEY) pressKey(code);
    else if (type >= A.TYPE_TEXT) for (const letter of text) pressKey(letter.charCodeAt(0));
  }

  function rows() {
    const found = [], active = focused();
    for (let e = begin[page]; e < begin[page + 1]; e += 1) {
      if (!visible(e)) continue;
      const node = nodes[e], box = node.getBoundingClientRect(), { kind } = elements[e];
      const live = kind === K.DAY || kind === K.MONTH || kind === K.SUGGESTION;
      const holds = isWritable(kind) || kind === K.SELECT || kind === K.DATE || kind === K.SLIDER;
      const tag = node.tagName.toLowerCase() + (node.tagName === "INPUT" ? `_${node.type}` : "");
      found.push([
        e, tag, live || holds ? "" : node.textContent, live ? node.textContent : holds ? node.value : "",
        Math.round(box.left), Math.round(box.top), Math.round(box.width), Math.round(box.height),
        active === e, tampered[e], targeted === e, isOn(e),
      ]);
    }
    return found;
  }

  async function observe() {
    if (sending) {
      await sending;
      sending = null;
    }
    return { url: location.href, outcome, page, rows: rows() };
  }

  // Whether something of an earlier page is left: the next one is to start with nothing.
  async function traces() {
    const asked = [indexedDB.databases(), caches.keys(), navigator.serviceWorker.getRegistrations()];
    const kept = (await Promise.all(asked)).reduce((sum, found) => sum + found.length, 0);
    return kept + document.cookie.length + localStorage.length + sessionStorage.length > 0;
  }

  window.daedalus = {
    begin: async () => ({ traces: await traces(), ...await observe() }),
    step: (...command) => {
      act(...command);
      return observe();
    },
    observe,
  };

  // ------------------------------------------------------------------ a person's pointer and keys

  const codes = { Enter: KEY.ENTER, Backspace: KEY.BACKSPACE, Tab: KEY.TAB, " ": KEY.SPACE };
  Object.assign(codes, { ArrowUp: KEY.MORE, ArrowRight: KEY.MORE, ArrowDown: KEY.LESS, ArrowLeft: KEY.LESS });
  const log = [];
  const at = (event) => ({ x: Math.floor(event.clientX), y: Math.floor(event.clientY) });

  // Of a drag only the last place counts.
  function note(event, more) {
    if (event.type === "mousemove" && log.length && log[log.length - 1].type === "mousemove") log.pop();
    log.push({ time: Math.round(event.timeStamp), type: event.type, ...more });
  }

  // A person's episode is over: send what was done, and go on with the next.
  async function tell() {
    await sending;
    await fetch(`${model.root}/events`, { method: "POST", body: JSON.stringify(log) });
    setTimeout(() => location.reload(), 500);
  }

  // Neither a menu nor what is pasted or dropped is among the commands that are recorded.
  for (const way of ["contextmenu", "paste", "drop"]) {
    document.addEventListener(way, (event) => event.preventDefault());
  }
  document.addEventListener("mousedown", (event) => {
    event.preventDefault();
    if (!event.isTrusted || event.button) return;
    note(event, at(event));
    targeted = -1;
    press(indexOf(event.target.closest("[data-e]")), at(event).x);
  });
  document.addEventListener("mousemove", (event) => {
    if (event.isTrusted && pressed >= 0 && elements[pressed].kind === K.SLIDER) {
      note(event, at(event));
      slide(pressed, at(event).x);
    }
  });
  document.addEventListener("mouseup", (event) => {
    if (!event.isTrusted || event.button) return;
    note(event, at(event));
    pressed = -1;
  });
  document.addEventListener("keydown", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const code = codes[event.key] ?? (event.key.length === 1 && event.key <= "~" ? event.key.charCodeAt(0) : KEY.NOTHING);
    if (code !== KEY.NOTHING) note(event, { code });
    targeted = -1;
    pressKey(code);
  });
  document.addEventListener("wheel", (event) => {
    note(event, { ...at(event), down: event.deltaY > 0 });
    pointer(event.deltaY > 0 ? A.SCROLL_DOWN : A.SCROLL_UP, at(event).x, at(event).y);
  });
  document.addEventListener("click", (event) => {
    const e = indexOf(event.target.closest("[data-e]"));
    if (e >= 0) onClick(e);
  });

  elements.forEach((element, e) => {
    if (element.kind === K.SLIDER) setNumber(e, element.low);
  });
  const firstTab = elements.findIndex((x) => x.kind === K.TAB && x.then === T.NOTHING);
  if (firstTab >= 0) switched[firstTab] = true;
  refresh();
})();
