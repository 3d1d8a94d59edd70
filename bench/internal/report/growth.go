package report

import (
	"fmt"
	"html"
	"strings"
)

// Growth is how figures develop while something grows: panels below one another, with what
// grows from left to right.
type Growth struct {
	Title  string
	Across string    // what grows
	At     []float64 // how much of it there was at each value; rising
	Panels []Panel
}

// Panel is one figure, drawn from 0.
type Panel struct {
	Title  string
	Values []float64 // as many as there are of Growth.At
}

// panelHeight is of one panel's curve, in pixels; panelStep adds what is above and below.
const (
	panelHeight = 110
	panelStep   = panelHeight + 50
)

// SVG draws the panels.
func (g Growth) SVG() string {
	height := topSpace + panelStep*len(g.Panels) + plotFoot
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"24\" font-weight=\"bold\">%[1]s</text>\n", html.EscapeString(g.Title))
	end := 1.0
	for _, x := range g.At {
		end = max(end, x)
	}
	across := func(x float64) float64 { return plotLeft + x/end*(width-plotLeft-20) }
	for i, panel := range g.Panels {
		g.draw(&b, panel, topSpace+panelStep*i, across)
	}
	for i := range 5 {
		x := end * float64(i) / 4
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", across(x), height-plotFoot+10, number(x))
	}
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n</svg>\n", (plotLeft+width-20)/2, height-10, html.EscapeString(g.Across))
	return b.String()
}

// draw draws one panel whose title begins at top.
func (g Growth) draw(b *strings.Builder, panel Panel, top int, across func(float64) float64) {
	highest := 0.0
	for _, v := range panel.Values {
		highest = max(highest, v)
	}
	if highest <= 0 {
		highest = 1
	}
	bottom := top + 20 + panelHeight
	up := func(v float64) float64 { return float64(bottom) - v/highest*panelHeight }
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\">%s</text>\n", plotLeft, top+8, html.EscapeString(panel.Title))
	fmt.Fprintf(b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%[2]d\" stroke=\"#1f2933\"/>\n", plotLeft, bottom, width-20)
	for _, v := range []float64{0, highest} {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", plotLeft-6, up(v)+5, number(v))
	}
	b.WriteString(`<polyline fill="none" stroke="#2f6f4f" stroke-width="2" points="`)
	for i, v := range panel.Values {
		fmt.Fprintf(b, "%.1f,%.1f ", across(g.At[i]), up(v))
	}
	b.WriteString("\"/>\n")
	for i, v := range panel.Values {
		fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"#2f6f4f\"/>\n", across(g.At[i]), up(v))
	}
}
