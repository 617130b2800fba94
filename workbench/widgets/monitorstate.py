"""What a MonitorWidget and its page hold in common."""

from typing import Any

import anywidget
import traitlets

from workbench.gates.states import GATES
from workbench.widgets.monitordata import SLOTS

PHASES = ("waiting", "running", "open", "finished", "interrupted", "failed")

# A trait for each epoch that is kept, so that only those that are new are sent, and all are there for a page
# that opens late or a notebook that was saved.
Slots = type(traitlets.HasTraits)(
    "Slots",
    (traitlets.HasTraits,),
    {f"panel_{i}": traitlets.Bytes(b"").tag(sync=True) for i in range(SLOTS)},
)


class MonitorState(anywidget.AnyWidget, Slots):
    """The traits of a MonitorWidget: what the page chooses, and what the kernel tells it."""

    layer = traitlets.Unicode("").tag(sync=True)
    gate = traitlets.Unicode("").tag(sync=True)
    epoch = traitlets.Int(0, min=0).tag(sync=True)
    unit = traitlets.Int(-1, min=-1).tag(sync=True)

    phase = traitlets.Enum(PHASES, "waiting").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    thinned = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    findings = traitlets.List(traitlets.Dict()).tag(sync=True)
    findings_told = traitlets.Unicode("").tag(sync=True)
    stoppable = traitlets.Bool(False).tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.List(traitlets.Unicode(), ["epoch", "taken"]).tag(sync=True)
    settled = traitlets.Bytes(b"").tag(sync=True)
    recent = traitlets.Bytes(b"").tag(sync=True)

    @traitlets.validate("gate")
    def _checked_gate(self, proposal: Any) -> str:
        gate, known = proposal["value"], sorted({name for names in GATES.values() for name in names})
        if gate and gate not in known:
            raise traitlets.TraitError(
                f'gate must be "" for all, or one of {", ".join(known)}. Got {gate!r}.'
            )
        return gate

    @traitlets.validate("layer")
    def _checked_layer(self, proposal: Any) -> str:
        layer, known = proposal["value"], [facts["name"] for facts in self.layers]
        if layer and known and layer not in known:
            raise traitlets.TraitError(f"there is no layer {layer!r}. There are {', '.join(known)}.")
        return layer
