// Package report prints measurements: lines for machines, a table for people, JSON, SVG,
// and the tables in docs/performance.md.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/handfast/handfast/bench/internal/stats"
)

// Series is one contestant's rounds of a figure.
type Series struct {
	Who    string    `json:"who"`
	Rounds []float64 `json:"rounds"`
	stats.Summary
}

// NewSeries condenses rounds.
func NewSeries(who string, rounds ...float64) Series {
	return Series{Who: who, Rounds: rounds, Summary: stats.Summarize(rounds)}
}

// Ours is the name of the contestant that the others are compared with.
const Ours = "handfast"

// Figure is one thing that was measured of one or more contestants. Where ours is among
// them it is the first.
type Figure struct {
	Bench  string    `json:"bench"` // what `make bench BENCH=` takes
	Name   string    `json:"name"`
	What   string    `json:"what"`
	Unit   string    `json:"unit"`
	Taken  time.Time `json:"taken"`
	Series []Series  `json:"series"`
}

// Lines returns one line for each peer, for machines:
//
//	bench NAME ours=V peer=PEER:V ratio=V unit=U
//
// Values are medians; "-" stands for what a figure does not have.
func (f Figure) Lines() []string {
	ours, peers := math.NaN(), f.Series
	if f.Series[0].Who == Ours {
		ours, peers = f.Series[0].Median, f.Series[1:]
		if len(peers) == 0 {
			return []string{fmt.Sprintf("bench %s ours=%s peer=- ratio=- unit=%s", f.Name, number(ours), f.Unit)}
		}
	}
	lines := make([]string, 0, len(peers))
	for _, peer := range peers {
		lines = append(lines, fmt.Sprintf("bench %s ours=%s peer=%s:%s ratio=%s unit=%s",
			f.Name, number(ours), peer.Who, number(peer.Median), number(ours/peer.Median), f.Unit))
	}
	return lines
}

// Table writes the figures with medians, the range of the rounds, and how ours compares:
// the median of the ratios round by round with their range.
func Table(w io.Writer, figures []Figure) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if err := row(table, "figure", "who", "median", "lowest", "highest", "unit", "ours/peer", "lowest", "highest"); err != nil {
		return err
	}
	for _, f := range figures {
		for i, s := range f.Series {
			cells := []string{f.Name, s.Who, number(s.Median), number(s.Min), number(s.Max), f.Unit}
			if i > 0 {
				r := stats.Summarize(stats.Ratios(f.Series[0].Rounds, s.Rounds))
				cells = append(cells, number(r.Median), number(r.Min), number(r.Max))
			}
			if err := row(table, cells...); err != nil {
				return err
			}
		}
	}
	return table.Flush()
}

func row(w io.Writer, cells ...string) error {
	_, err := fmt.Fprintln(w, strings.Join(cells, "\t"))
	return err
}

// number prints three significant digits, or all of those before the point.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	digits := 3
	if v != 0 {
		digits = 2 - int(math.Floor(math.Log10(math.Abs(v))))
	}
	return strconv.FormatFloat(v, 'f', min(max(digits, 0), 4), 64)
}

// Results is bench/results.json.
type Results struct {
	Machine string   `json:"machine"`
	Figures []Figure `json:"figures"`
}

// Load reads earlier results; a missing file is none.
func Load(path string) (Results, error) {
	var r Results
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

// Replace puts figures in place of earlier ones of the same benchmarks.
func (r *Results) Replace(figures []Figure) {
	fresh := make(map[string]bool)
	for _, f := range figures {
		fresh[f.Bench] = true
	}
	r.Figures = append(slices.DeleteFunc(r.Figures, func(f Figure) bool { return fresh[f.Bench] }), figures...)
	slices.SortStableFunc(r.Figures, func(a, b Figure) int { return strings.Compare(a.Bench, b.Bench) })
}

// Save writes the results.
func (r Results) Save(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// Markdown is a table of figures. Where ours has peers there are columns for both and one of ratios;
// otherwise it is plain.
func Markdown(figures []Figure) string {
	var b strings.Builder
	if !slices.ContainsFunc(figures, func(f Figure) bool { return f.Series[0].Who == Ours && len(f.Series) > 1 }) {
		b.WriteString("| figure | unit | median (lowest to highest) |\n| --- | --- | --- |\n")
		for _, f := range figures {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", f.What, f.Unit, ranged(f.Series[0].Summary))
		}
		return b.String()
	}
	b.WriteString("| figure | unit | Handfast | peer | median (lowest to highest) | ours / peer |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, f := range figures {
		ours := f.Series[0]
		if len(f.Series) == 1 { // nothing to compare with
			fmt.Fprintf(&b, "| %s | %s | %s |  |  |  |\n", f.What, f.Unit, ranged(ours.Summary))
		}
		for i, peer := range f.Series[1:] {
			what, unit, own := f.What, f.Unit, ranged(ours.Summary)
			if i > 0 {
				what, unit, own = "", "", ""
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", what, unit, own, peer.Who, ranged(peer.Summary), number(ours.Median/peer.Median))
		}
	}
	return b.String()
}

func ranged(s stats.Summary) string {
	if s.Min == s.Max {
		return "**" + number(s.Median) + "**"
	}
	return fmt.Sprintf("**%s** (%s to %s)", number(s.Median), number(s.Min), number(s.Max))
}

// Insert replaces what stands between the comments <!-- begin NAME --> and <!-- end NAME -->
// of a document. A document without them is left as it is, with an error.
func Insert(document []byte, name, content string) ([]byte, error) {
	begin, end := []byte("<!-- begin "+name+" -->\n"), []byte("<!-- end "+name+" -->")
	from := bytes.Index(document, begin)
	to := bytes.Index(document, end)
	if from < 0 || to < from {
		return nil, fmt.Errorf("the document has no place for %q: it needs the lines %s and %s", name, bytes.TrimSpace(begin), end)
	}
	return slices.Concat(document[:from+len(begin)], []byte(content), document[to:]), nil
}
