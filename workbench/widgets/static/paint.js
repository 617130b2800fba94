/** Colours: the theme of a place in the page, cividis for magnitudes, blue to vermilion for signs. */

const PACKED_CIVIDIS =
  "ACJOACNPACRRACVTACVUACZWACdYAChZAChbACldACpfACphACtiACxkACxmAC1oAC5qAC5sAC9tADBvADBwADFwADFxATJxBTNxCDNw"
  + "DDRwDzVwEjVwFDZwFjdwGDdvGjhvHDlvHjpvIDpvITtuIzxuJDxuJj1uJz5uKT9uKj9tK0BtLUFtLkFtL0JtMUNtMkNtM0RtNEVsNUVs"
  + "NkZsOEdsOUhsOkhsO0lsPEpsPUpsPktsP0xsQExsQU1sQk5sQ05sRE9sRVBsRlFsR1FsSFJsSVNsSlNsS1RsTFVsTVVsTlZsT1dsUFds"
  + "UVhtUlltU1ptVFptVVttVVxtVlxtV11tWF5tWV5uWl9uW2BuXGFuXWFuXmJuXmNvX2NvYGRvYWVvYmVvY2ZwZGdwZWhwZWhwZmlwZ2px"
  + "aGpxaWtxamxxa21ybG1ybG5ybW9ybm9zb3BzcHFzcXJ0cnJ0cnN0c3R1dHR1dXV1dnZ2d3d2d3d3eHh3eXl3enp4e3p4fHt4fXx4fnx4"
  + "fn14f354gH94gX94goB5g4F5hIJ5hYJ5hoN5h4R4iIV4iYV4ioZ4i4d4jIh4jYh4jol4j4p4kIt4kYt4kox4ko14k454lI53lY93lpB3"
  + "l5F3mJJ3mZJ3mpN2m5R2nJV2nZV2npZ2n5d1oJh1oZl1opl1o5p0pJt0pZx0ppx0p51zqJ5zqZ9zqqBzq6ByrKFyraJyrqNxr6RxsKVx"
  + "saVws6ZwtKdvtahvtqlvt6luuKpuuattuqxtu61tvK5sva5svq9rv7BrwLFqwbJqwrNpw7NpxLRoxbVoxrZnx7dnyLhmyblly7llzLpk"
  + "zbtjzrxjz71i0L5i0b9h0sBg08Bf1MFf1cJe1sNd18Rc2cVc2sZb28da3MhZ3chY3slY38pX4MtW4cxV4s1U5M5T5c9S5tBR59FQ6NJP"
  + "6dNO6tNM69RL7dVK7tZJ79dI8NhG8dlF8tpE89tC9dxB9t0/994++N88+eA6++E4/OI2/eM0/uQ0/uU1/uY2/ug4";

/** The map of magnitudes: 256 colours as red, green, blue bytes. */
export const CIVIDIS = Uint8Array.from(atob(PACKED_CIVIDIS), (letter) => letter.charCodeAt(0));

const NEGATIVE = [213, 94, 0];
const MIDDLE = [150, 150, 150];
const POSITIVE = [0, 114, 178];

/** Colour [red, green, blue] of a magnitude from 0 to 1. */
export function shade(t) {
  const at = 3 * Math.round(255 * clamp(t, 0, 1));
  return [CIVIDIS[at], CIVIDIS[at + 1], CIVIDIS[at + 2]];
}

/** Colour [red, green, blue] of a signed value from −1 (vermilion) through 0 (grey) to 1 (blue). */
export function signedShade(t) {
  const end = t < 0 ? NEGATIVE : POSITIVE;
  const weight = Math.abs(clamp(t, -1, 1));
  return MIDDLE.map((middle, i) => Math.round(middle + weight * (end[i] - middle)));
}

/** CSS text of a colour [red, green, blue]. */
export function rgbText([red, green, blue]) {
  return `rgb(${red},${green},${blue})`;
}

/** `value` within [low, high]; what is not a number becomes `low`. */
export function clamp(value, low, high) {
  return value > low ? Math.min(value, high) : low;
}

const THEME_NAMES = [
  "ink", "muted", "paper", "panel", "grid", "accent", "up", "down", "window", "lit", "null", "focus", "error",
];

/** The colours in force at `element`, whether they are dark, and the family of its font. */
export function themeOf(element) {
  const style = getComputedStyle(element);
  const theme = { font: style.fontFamily || "sans-serif" };
  for (const name of THEME_NAMES) {
    theme[name] = style.getPropertyValue(`--awb-${name}`).trim() || "#808080";
  }
  theme.dark = brightness(theme.paper) < 0.5;
  return theme;
}

const swatch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const brightnessOf = new Map();

/** How bright a CSS colour is, from 0 to 1. */
function brightness(colour) {
  if (!brightnessOf.has(colour)) {
    swatch.fillStyle = "#ffffff";
    swatch.fillRect(0, 0, 1, 1);
    swatch.fillStyle = colour;
    swatch.fillRect(0, 0, 1, 1);
    const [red, green, blue] = swatch.getImageData(0, 0, 1, 1).data;
    brightnessOf.set(colour, (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255);
  }
  return brightnessOf.get(colour);
}
