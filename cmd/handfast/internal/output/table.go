package output

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Cell is a table's cell.
type Cell struct {
	Text   string
	Colour Colour
}

// Grid is a table: a header and rows of as many cells. text/tabwriter would count a
// colour's escape sequence as width, so columns are aligned here.
type Grid struct {
	Header []string
	Rows   [][]Cell
}

// Add appends a row of plain cells.
func (g *Grid) Add(cells ...Cell) { g.Rows = append(g.Rows, cells) }

// columnGap separates columns.
const columnGap = "  "

// Write aligns the columns and writes them, without trailing spaces. An empty cell is shown as "-".
func (g *Grid) Write(w io.Writer, style Style) error {
	header := make([]Cell, len(g.Header))
	for i, name := range g.Header {
		header[i] = Cell{Text: name}
	}
	rows := append([][]Cell{header}, g.Rows...)
	widths := make([]int, len(g.Header))
	for _, row := range rows {
		for i := range row {
			row[i].Text = orDash(Clean(row[i].Text))
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		writeRow(&b, row, widths, style)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRow(b *strings.Builder, row []Cell, widths []int, style Style) {
	for i, cell := range row {
		b.WriteString(style.Paint(cell.Colour, cell.Text))
		if i == len(row)-1 {
			break
		}
		b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell.Text)))
		b.WriteString(columnGap)
	}
	b.WriteByte('\n')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Fields writes "name:  value" lines with the values aligned.
type Fields struct{ lines [][2]string }

// Add appends a line; an empty value is left out. Further lines of value are indented below the first.
func (f *Fields) Add(name, value string) {
	if value != "" {
		f.lines = append(f.lines, [2]string{name, value})
	}
}

// Write writes the lines, each with prefix before it. Values may hold colours that Style.Paint
// made, so cleaning what came from outside is the caller's work.
func (f *Fields) Write(w io.Writer, prefix string) error {
	width := 0
	for _, line := range f.lines {
		width = max(width, len(line[0]))
	}
	var b strings.Builder
	for _, line := range f.lines {
		indent := prefix + strings.Repeat(" ", width+len(columnGap)+1)
		b.WriteString(prefix + line[0] + ":" + strings.Repeat(" ", width-len(line[0])) + columnGap)
		b.WriteString(strings.ReplaceAll(line[1], "\n", "\n"+indent) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
