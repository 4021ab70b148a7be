"""The native backend: pages as a compiled batch, thousands of copies at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from daedalus.envs.core import Family
from daedalus.envs.random import GOAL, integers
from daedalus.envs.web import actions, events, keys
from daedalus.envs.web import pool as p
from daedalus.envs.web.compiling import apart, clear, copy_all, part, part_of_one
from daedalus.envs.web.draw import draw_page, painted_size
from daedalus.envs.web.model import SPLITS, TASKS
from daedalus.envs.web.table import ARRAYS, page_spaces
from daedalus.envs.web.tasks import load_tasks
from daedalus.envs.web.values import value_text, value_words

REWARDS = ("raw", "decayed", "binary")
BY_ELEMENT = ("mask", "elements", "words", "texts", "values")
"""Arrays with a row for each element."""
STEP_MS = 100.0
"""Simulated time of a step: World of Bits acts at 8 to 12 Hz."""


class WebParams(NamedTuple):
    """The instances, and how actions, time and reward count."""

    pool: np.ndarray  # records `pool.PAGE` (N,)
    layout: actions.Layout
    keys: np.ndarray  # int64 (keys,): what each does
    deadline: float  # ms; 0 for none, -1 for the page's own
    step_ms: float
    reward: int


class WebArrays(NamedTuple):
    """What can be seen of a page; ``R`` rows of elements."""

    elements: np.ndarray
    words: np.ndarray
    mask: np.ndarray
    utterance: np.ndarray
    fields: np.ndarray
    clock: np.ndarray
    texts: np.ndarray
    values: np.ndarray
    pixels: np.ndarray
    painted: np.ndarray
    filled: np.ndarray


def web_reset(state: Any, params: WebParams) -> None:
    """Open the page of a drawn instance."""
    state.instance = integers(state, GOAL, params.pool.size)
    events.begin(state, params.pool[state.instance])


def web_step(state: Any, action: Any, params: WebParams) -> tuple[float, bool]:
    """Carry out an action, and score the request if it sent one."""
    page = params.pool[state.instance]
    deadline = _deadline(page, params.deadline)
    state.clock += params.step_ms
    actions.apply(state, page, action, params.layout, params.keys)
    if deadline > 0 and state.outcome == events.OPEN and state.clock >= deadline:
        state.outcome = events.TIMED_OUT
    if state.outcome == events.OPEN:
        return 0.0, False
    state.raw = -1.0
    if state.outcome == events.SUBMITTED:
        state.raw = keys.score(state, page)
    return _reward(state, params.reward, deadline), True


@part
def _deadline(page: Any, asked: float) -> float:
    return page.deadline if asked < 0 else asked


@part
def _reward(state: Any, rule: int, deadline: float) -> float:
    """Apply the rule of time to a raw reward; failures are never scaled."""
    if rule == 2:
        return 1.0 if state.raw == 1.0 else -1.0
    if rule == 1 and state.raw > 0 and deadline > 0:
        return state.raw * max(0.0, 1.0 - state.clock / deadline)
    return state.raw


def web_observe(state: Any, params: WebParams, out: WebArrays) -> None:
    """Fill the arrays that were asked for."""
    _observe(state, params.pool[state.instance], params.deadline, out)


@part
def _observe(state: Any, page: Any, asked: float, out: Any) -> None:
    """Write the goal and the time, then the table, then the picture."""
    apart()
    copy_all(out.utterance, page.tokens)
    copy_all(out.fields, page.field_words)
    if out.clock.size > 0:
        deadline = _deadline(page, asked)
        out.clock[0] = min(state.clock / deadline, 1.0) if deadline > 0 else 0.0
        out.clock[1] = state.page
    if out.filled.size > 0:
        first, end = np.int64(page.begin[state.page]), np.int64(page.begin[state.page + 1])
        for k in range(out.filled[0]):
            e = first + out.filled[1 + k]
            if e >= end or not state.elements[e].visible:
                _clear_row(out, e - first)
        for k in range(state.showing):
            e = np.int64(state.shown[k])
            _row(state, page, e, out, e - first)
            out.filled[1 + k] = e - first
        out.filled[0] = state.showing
    if out.pixels.size > 0:
        draw_page(state, page, out.pixels, out.painted)


@part_of_one
def _clear_row(out: Any, row: int) -> None:
    if out.mask.size > 0:
        out.mask[row] = 0
    for k in range(out.elements.shape[1]):
        out.elements[row, k] = 0
    for k in range(out.words.shape[1]):
        out.words[row, k] = 0
    for k in range(out.texts.shape[1]):
        out.texts[row, k] = 0
    for k in range(out.values.shape[1]):
        out.values[row, k] = 0


@part_of_one
def _row(state: Any, page: Any, e: int, out: Any, row: int) -> None:
    """Write what is asked for of an element that shows."""
    x, mine = page.elements[e], state.elements[e]
    if out.mask.size > 0:
        out.mask[row] = 1
    if out.elements.size > 0:
        out.elements[row, 0] = x.tag
        out.elements[row, 1] = x.left
        out.elements[row, 2] = x.top - (state.scroll if x.scrolls else 0)
        out.elements[row, 3] = x.width
        out.elements[row, 4] = x.height
        out.elements[row, 5] = state.focus == e
        out.elements[row, 6] = mine.tampered
        out.elements[row, 7] = state.targeted == e
        out.elements[row, 8] = 1
        out.elements[row, 9] = mine.on
    if out.words.size > 0:
        for k in range(5):
            out.words[row, k] = x.words[k]
        out.words[row, 5], out.words[row, 6] = 0, 0
        if x.valued:
            out.words[row, 5], out.words[row, 6] = value_words(state, page, e)
    for k in range(out.texts.shape[1]):
        out.texts[row, k] = page.text[e, k]
    if out.values.size > 0:
        clear(out.values[row])
        _value(state, page, e, out.values[row])


@part
def _value(state: Any, page: Any, e: int, out: Any) -> None:
    """Write the text of an element's value."""
    text = value_text(state, page, e)
    for k in range(text.size):
        if text[k] == 0:
            break
        out[k] = text[k]


class Web(Family):
    """A web form to fill in: World of Bits, without a browser (or with one).

    A goal in words, a page of elements, and one request that fulfils the goal. The page reacts to
    pointer and keys as a browser would; ``daedalus.envs.web.browser`` runs the same page in
    headless Chromium, and the tests hold both to the same tables, rewards and requests.

    - ``click-test``: Click the one button.
    - ``click-test-2``: Click the right one of two buttons.
    - ``click-button``: Click the button with the given name among others, inputs and words.
    - ``click-link``: Click the link with the given words.
    - ``click-color``: Click the box of the given colour.
    - ``click-checkboxes``: Tick the given boxes and no others, then submit.
    - ``click-option``: Choose the given option, then submit.
    - ``click-tab``: Click the given tab.
    - ``click-tab-2``: Find a link behind one of three tabs.
    - ``click-dialog``: Close the dialog.
    - ``click-collapsible``: Open a section, then submit what is in it.
    - ``choose-list``: Choose the given entry of a select box, then submit.
    - ``focus-text``: Put the cursor into the text box.
    - ``focus-text-2``: Put the cursor into the given one of three text boxes.
    - ``navigate-tree``: Open folders until the given file shows, then click it.
    - ``click-menu``: Choose an entry of a menu of menus.
    - ``use-slider``: Move the slider to the given number, then submit.
    - ``grid-coordinate``: Click the point of a 5 x 5 grid with the given coordinates.
    - ``social-media``: Press the given button below the given person's post.
    - ``scroll-list``: Find an entry in a list that scrolls and click it.
    - ``enter-text``: Type the given word, then submit.
    - ``enter-password``: Type the given password twice, then submit.
    - ``enter-date``: Type the given date, then submit.
    - ``choose-date``: Choose the given date in a calendar, then submit.
    - ``enter-time``: Type the given time, then submit.
    - ``login-user``: Type user name and password, then log in.
    - ``use-autocomplete``: Type and take the suggestion, then submit.
    - ``multi-orderings``: Fill in three boxes that come in any order, then submit.
    - ``form-sequence``: Move a slider, tick a box, then submit.
    - ``search-engine``: Search for a word, then click the given result.
    - ``email-inbox``: Reply to, forward, star or delete the given person's message.
    - ``find-city``: Pick two cities and a day's time in three different boxes.
    - ``flight-aurora``: Fill in the form of Aurora Air: 2 pages, layout rows.
    - ``flight-borealis``: Fill in the form of Borealis: 3 pages, layout stack.
    - ``flight-comet``: Fill in the form of Comet Jets: 2 pages, layout columns.
    - ``flight-dune``: Fill in the form of Dune Wings: 3 pages, layout columns.
    - ``hotel-elm``: Fill in the form of Hotel Elm: 2 pages, layout rows.
    - ``hotel-fjord``: Fill in the form of Fjord Inns: 3 pages, layout stack.
    - ``car-grove``: Fill in the form of Grove Cars: 3 pages, layout rows.
    - ``register-harbor``: Fill in the form of Harbor Club: 3 pages, layout stack.
    - ``register-island``: Fill in the form of Island Post: 2 pages, layout columns.
    - ``checkout-jade``: Fill in the form of Jade Store: 3 pages, layout columns.

    Observation:
        elements: int16 (R, 10); for every element of the page in R rows: tag (position in
            ``model.TAGS``), left, top, width, height in pixels, and 1 where focused, tampered,
            targeted by the last action, a leaf, switched on or open. Zeros where none shows.
        words: int32 (R, 7); hashes (``pool.word_hash``) of the whole text, its first three words,
            the name of the form's field, the whole value, its first word; 0 for none.
        mask: uint8 (R,); 1 where an element shows.
        utterance: int32 (32,); hashes of the words of the goal.
        fields: int32 (20, 6); for every goal field: hashes of key, value, first word of the value,
            and of its first three runs of letters or digits, as 3, 1, 2017 of 03/01/2017.
        clock: float32 (2,); share of the time that is gone, number of the page.
        texts: uint8 (R, 32); texts as code points; on demand.
        values: uint8 (R, 32); values as code points; on demand.
        pixels: uint8 (H, W, 3); the page as a picture, 210 x 160 or 667 x 375; on demand.
    Action:
        MultiDiscrete, by ``actions``: first the type of action, then what its types need of
        x, y (pixels, or 51 bins), row of the element, key (``keys.KEYS``), goal field. What a type
        does not need is ignored. ``liu18``: nothing, click an element, click it and type a field.
        ``shi17``: pointer in pixels and keys. ``humphreys22``: pointer in 51 x 51 bins (119 x 161
        on the larger pages of sites), keys and typing a field. ``all_supported``: all 14 types of
        MiniWoB++.
    Reward:
        At the end only. Classic tasks: 1 if the request has exactly the wanted fields, else -1.
        Form sites: matching fields over all fields; -1 where a required field is missing or the
        site was left. -1 when the time is over. ``decayed``: what is positive is multiplied with
        the share of the time that is left; ``binary``: 1 if all is right, else -1.
    Episode end:
        Terminates when the form is sent, the site is left, or the page's time is over (simulated:
        100 ms a step, 10 to 60 s by task); truncated after 1000 steps.
    Parameters:
        task: Name of the task, as above; several with pages of one size, joined by ``+``, share
            the environment, with ``instances`` each.
        actions: ``"liu18"``, ``"shi17"``, ``"humphreys22"`` or ``"all_supported"``.
        split: ``"train"`` or ``"test"``: goals that never meet (a fifth for tests); or ``"all"``.
        instances: Instances that are drawn ahead and that episodes draw from.
        reward: ``"raw"``, ``"decayed"`` or ``"binary"``.
        deadline: Milliseconds of an episode, 0 for no end; by default the task's.
        step_ms: Simulated milliseconds of a step.
        rows: Rows of the table, where a policy of other pages wants more than there are elements.
    Version history:
        v0: first version.
    Source:
        Shi et al. 2017, "World of Bits" (ICML); MiniWoB++ (Liu et al. 2018, 1802.08802) for
        observations, actions and rewards. Pages, words and kernels are ours.
    """

    Params, Arrays = WebParams, WebArrays
    observations = ARRAYS
    hidden: ClassVar = {"painted": ("pixels",), "filled": BY_ELEMENT}
    time_limit = 1000
    keys = {"0": 0}
    fps = 10
    reset, step, observe = web_reset, web_step, web_observe

    def __init__(
        self,
        *,
        task: str = "click-button",
        actions: str = "liu18",
        split: str = "all",
        instances: int = 256,
        reward: str = "raw",
        deadline: int | None = None,
        step_ms: float = STEP_MS,
        rows: int | None = None,
    ) -> None:
        """Draw the instances.

        Raises:
            ValueError: There is no such task, preset, split or reward, or a number is out of range.
        """
        load_tasks()
        names = tuple(task.split("+"))
        for name, value, known in (
            *(("task", name, TASKS) for name in names),
            ("split", split, SPLITS),
            ("reward", reward, REWARDS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        if not 1 <= instances <= 100_000 or step_ms <= 0:
            raise ValueError("Web needs 1 <= instances <= 100000 and step_ms > 0")
        if deadline is not None and not deadline >= 0:
            raise ValueError(f"deadline must be 0 (none) or more ms, got {deadline}")
        sizes = {TASKS[name].size for name in names}
        if len(sizes) > 1:
            raise ValueError(f"tasks that share an environment need pages of one size: {task}")
        [self.size], self.preset = sizes, actions
        pool, self.instances = p.draw_pool(names, instances, split)
        needed = int(np.diff(pool["begin"], axis=1).max())
        self.rows = needed if rows is None else int(rows)
        if self.rows < needed:
            raise ValueError(f"{task} has pages of {needed} elements, rows={rows} are too few")
        layout, self.action_space = _layout(actions, self.size, self.rows)
        limit = -1.0 if deadline is None else float(deadline)
        self.params = WebParams(pool, layout, _KEYS, limit, float(step_ms), REWARDS.index(reward))
        self.state_dtype = np.dtype(events.STATE, align=True)
        most = np.iinfo(np.int64).max
        painted = Box(-most, most, (painted_size(self.rows),), np.int64)
        filled = Box(0, self.rows, (1 + self.rows,), np.int16)
        self.spaces = page_spaces(self.rows, self.size) | {"painted": painted, "filled": filled}

    def render(self, state: np.void) -> np.ndarray:
        """Return the page, uint8 (H, W, 3), with its utterance above where it has none in it."""
        from daedalus.envs.web.table import picture

        return picture(self, state)

    def annotate(
        self, picture: np.ndarray, state: np.void, action: Any, panels: Mapping[str, Any]
    ) -> np.ndarray:
        """Return a picture of `render` with pointer, choice and probabilities; see `overlay`."""
        from daedalus.envs.web.overlay import Sight, overlay
        from daedalus.envs.web.table import read_table

        begin = self.params.pool[int(state["instance"])]["begin"]
        pointer = int(state["x"]), int(state["y"])
        sight = Sight(read_table(self, state), int(begin[state["page"]]), self.size, pointer)
        command = None if action is None else actions.decode(self.params.layout, action)
        return overlay(picture, sight, command, panels)


_layout = actions.layout_of
_KEYS = np.array([keys.key_code(key) for key in keys.KEYS], np.int64)
_KEYS.flags.writeable = False
