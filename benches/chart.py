"""Bars on a logarithmic scale, as SVG that is legible on white and on dark pages: it brings its own background."""

from html import escape
from math import ceil, floor, log10

LEFT, WIDTH, RIGHT, ROW, TOP = 210, 400, 190, 26, 74
OURS, OUR_OTHERS, OTHERS, INK, FAINT, RULE = "#1d6fa5", "#9cc3de", "#b4bcc4", "#1f2328", "#59636e", "#d8dee4"


def chart(title, subtitle, bars):
    """Bars of (name, value, is_ours), the shortest first, each labelled with its value and its ratio to the first of ours."""
    bars = sorted((bar for bar in bars if bar[1]), key=lambda bar: bar[1])
    ours = next((value for _, value, is_ours in bars if is_ours), bars[0][1])
    low, high = floor(log10(bars[0][1] / 2)), ceil(log10(bars[-1][1]))
    at = lambda value: LEFT + (log10(value) - low) / (high - low) * WIDTH
    bottom = TOP + len(bars) * ROW + 4
    width, height = LEFT + WIDTH + RIGHT, bottom + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}, {escape(subtitle)}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6" fill="#ffffff" stroke="{RULE}"/>',
        text(20, 30, title, size=16, weight=600),
        text(20, 52, f"{subtitle}; logarithmic scale", colour=FAINT),
    ]
    for power in range(low, high + 1):
        x = at(10**power)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="{RULE}"/>')
        parts.append(text(x, bottom + 18, f"{10**power:,}", anchor="middle", colour=FAINT))
    for number, (name, value, is_ours) in enumerate(bars):
        y, weight = TOP + number * ROW, 600 if is_ours else 400
        colour = OURS if is_ours else OUR_OTHERS if name.startswith("sitefs") else OTHERS
        times = (
            ""
            if is_ours
            else f" · {value / ours:,.1f} times as long"
            if value < 10 * ours
            else f" · {value / ours:,.0f} times as long"
        )
        parts.append(text(LEFT - 10, y + 14, name, anchor="end", weight=weight))
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{at(value) - LEFT:.1f}" height="{ROW - 7}" rx="2" fill="{colour}"/>')
        parts.append(text(at(value) + 8, y + 14, f"{value:,.0f}{times}", weight=weight))
    return "\n".join([*parts, "</svg>"]) + "\n"


def text(x, y, words, size=13, anchor="start", weight=400, colour=INK):
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{escape(words)}</text>'
