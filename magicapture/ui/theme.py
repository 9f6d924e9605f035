"""How the page looks: a calm theme that works in light and dark, and the few rules that Gradio's own do not cover."""

from pathlib import Path

import gradio as gr

ACCENT = gr.themes.Color(
    name="terracotta",
    c50="#fbf4f1",
    c100="#f6e5de",
    c200="#ecc9bc",
    c300="#dfa792",
    c400="#d08469",
    c500="#bd6446",
    c600="#a44f33",
    c700="#873f2a",
    c800="#6a3222",
    c900="#4d251a",
    c950="#2f1610",
)
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")

THEME = gr.themes.Base(
    primary_hue=ACCENT,
    secondary_hue=ACCENT,
    neutral_hue="stone",
    radius_size="lg",
    font=FONTS,
    font_mono=("ui-monospace", "Consolas", "monospace"),
).set(
    body_background_fill="#faf8f6",
    body_background_fill_dark="#171412",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_background_fill="white",
    block_background_fill_dark="#211d1a",
    block_border_width="1px",
    block_border_color="#e9e3de",
    block_border_color_dark="#36302b",
    block_shadow="none",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_border_width="0px",
    block_label_text_color="*neutral_600",
    block_label_text_color_dark="*neutral_300",
    block_title_text_weight="600",
    input_background_fill="#fdfcfb",
    input_background_fill_dark="#1b1816",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_500",
    button_primary_text_color="white",
    button_primary_text_color_dark="white",
    slider_color="*primary_600",
    slider_color_dark="*primary_500",
)

CSS = (Path(__file__).parent / "page.css").read_text()
