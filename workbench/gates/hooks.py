"""What skorch calls while it trains. Its base class is not inherited: importing skorch takes seconds."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from workbench.gates.course import Course, figures_of


class TrainingHooks:
    """The events of a training, brought down to three: begin, end of an epoch, end."""

    def begin(self, model: nn.Module, optimizer: Optimizer, course: Course | None = None) -> None:
        """Begin."""
        raise NotImplementedError

    def end_epoch(self, figures: Mapping[str, float] | None = None) -> object:
        """End an epoch."""
        raise NotImplementedError

    def end(self) -> None:
        """End."""
        raise NotImplementedError

    def break_off(self, error: BaseException) -> None:
        """End by an error."""
        raise NotImplementedError

    def initialize(self) -> "TrainingHooks":
        """Do nothing: `on_train_begin` begins."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return nothing that skorch may set."""
        return {}

    def set_params(self, **params: Any) -> "TrainingHooks":
        """Set nothing."""
        if params:
            name = type(self).__name__
            raise ValueError(f"a {name} has no parameters for skorch to set, got {', '.join(params)}.")
        return self

    def on_train_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Begin."""
        self.begin(net.module_, net.optimizer_, Course.of(net))
        loop = net.fit_loop

        def watched(*args: Any, **kwargs: Any) -> Any:
            """Run the loop. skorch tells callbacks nothing of an error, so it is caught on its way."""
            from workbench.training.callbacks import Ended

            try:
                return loop(*args, **kwargs)
            except BaseException as error:
                if not isinstance(error, Ended):
                    self.break_off(error)
                raise

        net.fit_loop = watched

    def on_epoch_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def on_batch_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: steps are seen by the optimiser's hooks."""

    def on_grad_computed(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: gradients are clipped by now."""

    def on_batch_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def on_epoch_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """End an epoch."""
        self.end_epoch(figures_of(list(net.history)[-1], getattr(net, "job", None)))

    def on_train_end(self, net: Any, *args: Any, **kwargs: Any) -> None:
        """End."""
        self.end()
