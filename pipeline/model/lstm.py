"""The LSTM of GPT-1's ablation: the Transformer's body replaced by one layer of 2048 units (GPT-1 5).

The paper gives no more than layer and units. Embedding width, tied head, dropout and initial weights are those of its
Transformer, and a projection brings the units back to the embedding's width: ours.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pipeline.config.model import ModelConfig
from pipeline.model.cache import Reading


class LSTMLayer(nn.Module):
    """One LSTM layer that starts from a zero state in every window.

    Args:
        config: the shape.
        index: number of the layer; the first reads token embeddings, with embedding dropout.
    """

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.dropout_in = nn.Dropout(config.dropout) if index == 0 else nn.Identity()
        self.lstm = nn.LSTM(config.d_model if index == 0 else config.lstm_units, config.lstm_units, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """[batch, time, d_model or units] -> [batch, time, units]."""
        if reading is not None:
            # Packed, so that the state behind a row's last token is kept and not that behind its padding.
            packed = pack_padded_sequence(hidden, reading.lengths.cpu(), batch_first=True, enforce_sorted=False)
            out, after = self.lstm(packed, reading.state(self))
            reading.remember(self, after)
            padded: Tensor = pad_packed_sequence(out, batch_first=True, total_length=hidden.shape[1])[0]
            return padded
        state, _ = self.lstm(self.dropout_in(hidden))
        dropped: Tensor = self.dropout(state)
        return dropped


class Projection(nn.Linear):
    """[batch, time, units] -> [batch, time, d_model]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.lstm_units, config.d_model)

    def forward(self, hidden: Tensor, documents: Tensor | None = None, reading: Reading | None = None) -> Tensor:
        """Project the states."""
        return super().forward(hidden)
