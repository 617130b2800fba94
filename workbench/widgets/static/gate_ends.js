/** The strip beside a gate's panel: how often each unit is at an end of the gate's range. */

import { tickLine } from "./cells.js";

/** Its place; panels narrower than `least` have none. */
export const ENDS = { gap: 10, width: 74, least: 270 };

/** To the left how often a unit is closed, to the right how often open; of a tanh both ends to the right. */
export function paintEnds(ctx, box, { left, right, units, low }, theme) {
  const both = low < 0;
  const [foot, room] = both ? [box.x, box.width] : [box.x + box.width / 2, box.width / 2];
  const high = box.height / units;
  const thick = Math.max(0.75, high - (high > 3 ? 1 : 0));
  ctx.strokeStyle = theme.grid;
  ctx.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
  for (const [shares, colour, way] of [[left, theme.down, -1], [right, theme.up, 1]]) {
    ctx.fillStyle = colour;
    for (let unit = 0; unit < units; unit += 1) {
      const wide = shares[unit] * room;
      if (wide > 0) ctx.fillRect(way < 0 ? foot - wide : foot, box.y + unit * high, wide, thick);
    }
  }
  ctx.strokeStyle = theme.muted;
  tickLine(ctx, foot, box.y, 0, box.height);
  nameEnds(ctx, box, both, theme);
}

function nameEnds(ctx, box, both, theme) {
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "center";
  const names = both ? [["|·| > .99", 0.5, theme.up]] : [["< .1", 0.25, theme.down], ["> .9", 0.75, theme.up]];
  for (const [text, at, colour] of names) {
    ctx.fillStyle = colour;
    ctx.fillText(text, box.x + at * box.width, box.y - 6);
  }
  ctx.fillStyle = theme.muted;
  ctx.textBaseline = "top";
  const ends = both ? [["0", 0], ["100", 1]] : [["100", 0], ["0", 0.5], ["100", 1]];
  for (const [text, at] of ends) {
    ctx.textAlign = at === 0 ? "left" : at === 1 ? "right" : "center";
    ctx.fillText(text, box.x + at * box.width, box.y + box.height + 6);
  }
  ctx.fillStyle = theme.ink;
  ctx.textAlign = "center";
  ctx.fillText("% of values", box.x + box.width / 2, box.y + box.height + 20);
}
