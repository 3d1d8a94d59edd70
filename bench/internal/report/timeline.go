package report

import (
	"fmt"
	"html"
	"strings"
)

// Timeline is a figure over time, one value a second.
type Timeline struct {
	Title  string
	Unit   string
	Values []float64
	Shaded [2]int // from and to which second the background is shaded
	Label  string // of what is shaded
}

// Sizes of a timeline's picture, in pixels.
const (
	plotLeft   = 60
	plotHeight = 260
	plotFoot   = 40
	most       = 600 // columns; longer timelines are averaged into as many
)

// SVG draws the timeline, with the time in minutes.
func (t Timeline) SVG() string {
	step := max((len(t.Values)+most-1)/most, 1)
	points := averaged(t.Values, step)
	highest := 1.0
	for _, v := range points {
		highest = max(highest, v)
	}
	across := func(second float64) float64 {
		return plotLeft + second/float64(max(len(t.Values), 1))*(width-plotLeft-20)
	}
	up := func(v float64) float64 { return topSpace + (1-v/highest)*(plotHeight-topSpace) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13" role="img">`+"\n", width, plotHeight+plotFoot)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"24\" font-weight=\"bold\">%[1]s</text>\n", html.EscapeString(t.Title))
	from, to := across(float64(t.Shaded[0])), across(float64(t.Shaded[1]))
	fmt.Fprintf(&b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#f3dcd6\"/>\n<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
		from, topSpace, to-from, plotHeight-topSpace, (from+to)/2, topSpace+18, html.EscapeString(t.Label))
	b.WriteString(`<polyline fill="none" stroke="#2f6f4f" stroke-width="1.5" points="`)
	for i, v := range points {
		fmt.Fprintf(&b, "%.1f,%.1f ", across(float64(i*step)), up(v))
	}
	b.WriteString("\"/>\n")
	fmt.Fprintf(&b, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%[2]d\" stroke=\"#1f2933\"/>\n", plotLeft, plotHeight, width-20)
	for _, v := range []float64{0, highest / 2, highest} {
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", plotLeft-6, up(v)+5, number(v))
	}
	for i := range 5 {
		second := float64(len(t.Values)) * float64(i) / 4
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f min</text>\n", across(second), plotHeight+20, second/60)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// averaged returns the mean of each step values.
func averaged(values []float64, step int) []float64 {
	var means []float64
	for from := 0; from < len(values); from += step {
		group := values[from:min(from+step, len(values))]
		sum := 0.0
		for _, v := range group {
			sum += v
		}
		means = append(means, sum/float64(len(group)))
	}
	return means
}
