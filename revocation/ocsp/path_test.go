package ocsp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// spellings returns the ways in which clients put a request into a path.
func spellings(request []byte) []string {
	standard := base64.StdEncoding.EncodeToString(request)
	escape := func(format string) string {
		var b strings.Builder
		for _, c := range []byte(standard) {
			if strings.IndexByte("+/=", c) >= 0 {
				fmt.Fprintf(&b, format, c)
			} else {
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	upper, lower := escape("%%%02X"), escape("%%%02x")
	var everything strings.Builder
	for _, c := range []byte(standard) {
		fmt.Fprintf(&everything, "%%%02x", c)
	}
	var lines strings.Builder
	for i, c := range []byte(upper) {
		if i > 0 && i%64 == 0 && upper[i-1] != '%' && (i < 2 || upper[i-2] != '%') {
			lines.WriteString("%0A")
		}
		lines.WriteByte(c)
	}
	return []string{
		"/" + standard, standard, "//" + standard, "/%2F" + standard, "/" + upper, "/" + lower,
		"/" + strings.TrimRight(standard, "="), "/" + strings.ReplaceAll(upper, "%3D", ""), "/" + everything.String(),
		"/" + lines.String(), "/" + standard + "%0a",
		"/" + base64.URLEncoding.EncodeToString(request), "/" + base64.RawURLEncoding.EncodeToString(request),
	}
}

func TestDecodePathRefuses(t *testing.T) {
	for _, path := range []string{"/%", "/%zz", "/MA?A", "/M", "/MA MA", "/" + strings.Repeat("M", 4*MaxRequest+100), "/favicon.ico"} {
		if der, err := DecodePath(nil, []byte(path)); err == nil {
			t.Errorf("%.40q is read as %x", path, der)
		}
	}
}

// Every spelling of a request gives the same octets, whatever they are: among random ones are
// those with // and ++ that a mux or an URL parser would change.
func FuzzDecodePath(f *testing.F) {
	f.Add([]byte{0x30, 0x03, 0xff, 0xff, 0xff})
	f.Add([]byte("0\x0b\xef\xbe\xfb\xff\xff\xff\xfb\xef\xbe\x00\x00"))
	f.Fuzz(func(t *testing.T, contents []byte) {
		if len(contents) > 512 {
			t.Skip()
		}
		request := append([]byte{0x30}, contents...)
		for _, path := range spellings(request) {
			got, err := DecodePath(nil, []byte(path))
			if err != nil || !bytes.Equal(got, request) {
				t.Fatalf("%q is %x (%v), want %x", path, got, err, request)
			}
		}
	})
}

// Paths that no client meant do not harm.
func FuzzDecodePathGarbage(f *testing.F) {
	f.Add("/MEUw%")
	f.Fuzz(func(t *testing.T, path string) {
		der, err := DecodePath(nil, []byte(path))
		if err == nil && len(der) > len(path) {
			t.Fatalf("%q became %d octets", path, len(der))
		}
	})
}
