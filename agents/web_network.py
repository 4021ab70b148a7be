"""The network of `web` on element tables: goal matching, neighbours, a pointer with typed fields.

Every element is described by its numbers, its words (hashed into a table of embeddings) and by how
its words match those of the goal; convolutions along the table let it see its neighbours, such as
the label beside a box. So described, it attends to the goal fields: which is it about, and does it
hold what that field wants? What pops up is about the field of the element that has the focus. The
policy is a pointer: a softmax over (click | type) x element, and over the goal fields for what is
typed, which is the same attention. Weights do not depend on the number of rows, so a network plays
any page.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.rollout import Inputs, State
from daedalus.agents.a3c_network import FeedForwardCore, Unrolled
from daedalus.agents.base import Spaces
from daedalus.agents.networks import Known
from daedalus.agents.web_policy import IMPOSSIBLE, PointerPolicy

BUCKETS = 4096
"""Embeddings of words; hashes share them modulo this."""
TAGS = 12
WAVES = 4
"""Frequencies by which a place on the page is told, besides its numbers."""
NUMBERS = 9 + 4 * WAVES  # of an element, besides its tag
PAIRS = 9
"""Ways in which an element matches a goal field."""
MATCHES = PAIRS + 7
PIXELS = (160.0, 210.0, 160.0, 210.0)
"""What rectangles are divided by."""
TOGETHER = 32
"""Pages at least that go through the network together."""
WORD_SCALE = 0.5
"""Standard deviation of word embeddings at first."""


class Neighbours(nn.Module):
    """A residual convolution along the table, with the goal added: rows see those beside them."""

    def __init__(self, width: int) -> None:
        """Make the layers."""
        super().__init__()
        self.along = nn.Conv1d(width, width, 5, padding=2)
        self.context = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (N, R, width) to the same shape; rows without an element stay zero."""
        pooled = torch.cat([x.sum(1) / mask.sum(1).clamp(min=1.0), x.amax(1)], -1)
        seen = self.along(x.transpose(1, 2)).transpose(1, 2)
        mixed = self.out(F.relu(seen + self.context(pooled).unsqueeze(1)))
        return F.relu(x + mixed) * mask


class ElementNetwork(nn.Module):
    """Elements and goal -> policy and value; an `A3CNetwork` to the learner."""

    def __init__(self, spaces: Spaces, width: int, layers: int) -> None:
        """Build for the arrays of a web page and the preset ``liu18``."""
        super().__init__()
        _, rows, fields = (int(n) for n in spaces.action.nvec)  # type: ignore[attr-defined]
        self.distribution = PointerPolicy(rows, fields)
        self.core = FeedForwardCore(self.distribution.size + 1)
        self.tag = nn.Embedding(TAGS, width)
        self.word = nn.Embedding(BUCKETS, width)
        self.numbers = nn.Linear(NUMBERS + MATCHES, width)
        self.words = nn.Linear(4 * width, width)
        self.field = nn.Linear(5 * width, width)
        self.goal = nn.Linear(2 * width + 2, width)
        self.before = nn.ModuleList(Neighbours(width) for _ in range(layers))
        self.key = nn.Linear(width, width)
        self.pairs = nn.Linear(PAIRS, 1)
        self.wanted = nn.Linear(2 * PAIRS + width, width)
        self.after = nn.ModuleList(Neighbours(width) for _ in range(layers))
        self.pointer = nn.Linear(width, 2)
        self.nothing = nn.Linear(2 * width, 1)
        self.value = nn.Linear(2 * width, 1)  # of features that are the policy's alone
        nn.init.normal_(self.word.weight, std=WORD_SCALE)
        for layer in (self.pointer, self.nothing, self.value):
            nn.init.orthogonal_(layer.weight, 0.01)

    def actor(self, output: Tensor) -> Tensor:
        """Return the policy's parameters: they are the output itself."""
        return output[..., :-1]

    def critic(self, output: Tensor) -> Tensor:
        """Return the value (..., 1)."""
        return output[..., -1:]

    def step(
        self, inputs: Inputs, state: State, keep: bool
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Act without a graph; nothing is kept for the update."""
        with torch.no_grad():
            return self(inputs.observation), {}, {}

    def unroll(self, inputs: Inputs, state: State, known: Known | None = None) -> Unrolled:
        """Run over (T, B) inputs."""
        steps, batch = inputs.episode_start.shape
        flat = {name: value.flatten(0, 1) for name, value in inputs.observation.items()}
        output = self(flat).view(steps, batch, -1)
        return Unrolled(output, output, output, self.actor(output), output[..., -1])

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return policy parameters and value, (N, size + 1).

        Pages with few elements go through apart from those with many: a popup fills half a table.
        """
        order = observation["mask"].sum(1).argsort()
        if len(order) < 2 * TOGETHER:
            return self._pages(observation)
        parts = order.split(max(TOGETHER, -(-len(order) // 4)))
        found = [self._pages({k: a[part] for k, a in observation.items()}) for part in parts]
        return torch.cat(found)[order.argsort()]

    def _pages(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return policy parameters and value of pages that are padded to one length."""
        seen, places = visible_rows(observation)
        mask = seen["mask"].float().unsqueeze(-1)
        pairs = matches(seen)
        fields = self._fields(seen)
        x = self._elements(seen, mask, pairs, self._goal(seen, fields))
        for layer in self.before:
            x = layer(x, mask)
        about = self._about(seen, x, pairs)
        x = F.relu(x + self.wanted(self._told(seen, about, pairs, fields))) * mask
        for layer in self.after:
            x = layer(x, mask)
        pointer = self.pointer(x).masked_fill(mask == 0, IMPOSSIBLE)
        context = torch.cat([x.sum(1) / mask.sum(1).clamp(min=1.0), x.amax(1)], -1)
        nothing, value = self.nothing(context), self.value(context.detach())
        click, enter, field = self._everywhere(places, pointer, about)
        return torch.cat([nothing, click, enter, field.flatten(1), value], -1)

    def _everywhere(
        self, places: Tensor, pointer: Tensor, about: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of clicks and typing (N, rows) and of fields (N, rows, fields)."""
        rows = torch.cat([pointer, about], -1)
        rows = F.pad(rows, (0, self.distribution.fields - about.shape[-1]), value=IMPOSSIBLE)
        full = rows.new_full((len(rows), self.distribution.rows, rows.shape[-1]), IMPOSSIBLE)
        full = full.scatter(1, places.unsqueeze(-1).expand_as(rows), rows)
        return full[..., 0], full[..., 1], full[..., 2:]

    def _elements(
        self, seen: Mapping[str, Tensor], mask: Tensor, pairs: Tensor, goal: Tensor
    ) -> Tensor:
        """Describe every element, (N, R, width)."""
        numbers = seen["elements"].float()
        place = numbers[..., 1:5] / numbers.new_tensor(PIXELS)
        told = torch.cat([place, waves(place), numbers[..., 5:], summary(seen, pairs)], -1)
        words = self._embed(seen["words"])
        whole = words[..., 0, :], words[..., 1:4, :].sum(-2), words[..., 4, :]
        described = torch.cat([*whole, words[..., 5:, :].sum(-2)], -1)
        x = self.tag(seen["elements"][..., 0].long()) + self.words(described) + self.numbers(told)
        return F.relu(x + goal.unsqueeze(1)) * mask

    def _embed(self, hashes: Tensor) -> Tensor:
        """Look words up, (..., width); zeros for none."""
        return self.word(hashes.long() % BUCKETS) * (hashes > 0).unsqueeze(-1)  # type: ignore[no-any-return]

    def _fields(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Describe every goal field by key, value and the value's parts, (N, F, width)."""
        told = seen["fields"]
        words = self._embed(told[..., [0, 1, 3, 4, 5]]).flatten(-2)
        return F.relu(self.field(words)) * (told[..., 1] > 0).unsqueeze(-1)

    def _goal(self, seen: Mapping[str, Tensor], fields: Tensor) -> Tensor:
        """Describe what is wanted, (N, width)."""
        told = seen["utterance"]
        words = self._embed(told).sum(1) / (told > 0).sum(1, keepdim=True).clamp(min=1).sqrt()
        return self.goal(torch.cat([words, fields.sum(1), seen["clock"]], -1))  # type: ignore[no-any-return]

    def _about(self, seen: Mapping[str, Tensor], x: Tensor, pairs: Tensor) -> Tensor:
        """Return the logit of every field for every element, (N, R, F)."""
        fields = seen["fields"]
        keys = self._embed(fields[..., 0])
        logits = self.pairs(pairs).squeeze(-1) + self.key(x) @ keys.transpose(1, 2)
        return logits.masked_fill((fields[..., 1] == 0).unsqueeze(1), IMPOSSIBLE)  # type: ignore[no-any-return]

    def _told(
        self, seen: Mapping[str, Tensor], about: Tensor, pairs: Tensor, fields: Tensor
    ) -> Tensor:
        """Tell of every element how it matches its own field and that of the focus."""
        own = F.pad(about, (1, 0)).softmax(-1)[..., 1:]  # or it is about none
        focused = (own * seen["elements"][..., 5:6]).sum(1)
        matched = torch.einsum("nrf,nrfp->nrp", own, pairs)
        popped = torch.einsum("nf,nrfp->nrp", focused, pairs)
        wanted = torch.einsum("nf,nfw->nw", focused, fields).unsqueeze(1)
        return torch.cat([matched, popped, wanted.expand(-1, matched.shape[1], -1)], -1)


def visible_rows(observation: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Move what shows to the front and drop the rest: most rows of a page with a calendar hide.

    Returns:
        The arrays with K rows and no more goal fields than there are, and the row (N, K) that each
        was.
    """
    mask, fields = observation["mask"], observation["fields"]
    count = max(int(mask.sum(1).max()), 1)
    known = max(int((fields[..., 1] > 0).sum(1).max()), 1)
    places = torch.argsort(mask, dim=1, descending=True, stable=True)[:, :count]
    found = {**observation, "fields": fields[:, :known]}
    for name in ("elements", "words"):
        array = observation[name]
        found[name] = array.gather(1, places.unsqueeze(-1).expand(-1, -1, array.shape[-1]))
    found["mask"] = mask.gather(1, places)
    return found, places


def waves(place: Tensor) -> Tensor:
    """Return sines and cosines of left and top (N, R, 4 WAVES), so that near places can differ."""
    frequencies = torch.pi * 2.0 ** torch.arange(1, WAVES + 1, device=place.device)
    angles = place[..., :2].unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(-2)


def matches(seen: Mapping[str, Tensor]) -> Tensor:
    """Tell how elements match goal fields, float32 (N, R, F, PAIRS).

    Whole text is the field's value; whole value is; the name is the field's key; a word of the text
    is; the first word of the value of both agree; a word of the text is the field's first; the
    value is the first, second or third part of the field's.
    """
    words, fields = seen["words"].unsqueeze(2), seen["fields"].unsqueeze(1)
    key, value, first = fields[..., 0], fields[..., 1], fields[..., 2]
    found = (
        words[..., 0] == value,
        words[..., 5] == value,
        words[..., 4] == key,
        (words[..., 1:4] == key.unsqueeze(-1)).any(-1),
        (words[..., 6] == first) & (first > 0),
        (words[..., 1:4] == first.unsqueeze(-1)).any(-1) & (first > 0),
        *((words[..., 5] == part) & (part > 0) for part in fields[..., 3:].unbind(-1)),
    )
    return torch.stack([f & (value > 0) for f in found], -1).float()


def summary(seen: Mapping[str, Tensor], pairs: Tensor) -> Tensor:
    """Sum the matches up by element, float32 (N, R, MATCHES)."""
    words = seen["words"]
    told = seen["utterance"].unsqueeze(1).unsqueeze(1)
    said = ((words.unsqueeze(-1) == told) & (words.unsqueeze(-1) > 0)).any(-1).float()
    done = pairs[..., 2] * pairs[..., 1]  # the field of this name holds its value
    any_field = pairs.amax(2)
    return torch.cat([any_field, done.amax(2).unsqueeze(-1), said[..., [0, 1, 2, 4, 5, 6]]], -1)
