package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/handfast/handfast/certs/feed"
	"github.com/handfast/handfast/internal/logtest"
)

const viewIssuer = "0102030405060708"

func viewSerial(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{1}, n) }

// revokeNext is view after the certificate number view.Sequence()+1 was revoked.
func revokeNext(t testing.TB, view *feed.View) *feed.View {
	t.Helper()
	now := time.Now().Truncate(time.Millisecond)
	s := &feed.Statement{TrustDomain: "test.example", From: view.Sequence(), To: view.Sequence() + 1, SignedAt: now, NextUpdate: now.Add(24 * time.Hour), Issuers: []string{viewIssuer}}
	if view == nil {
		s.Snapshot = feed.NewSet([]uint64{feed.Hash(viewIssuer, viewSerial(1))})
	} else {
		s.Entries = []feed.Entry{{Sequence: s.To, Kind: feed.Revoked, Issuer: viewIssuer, Serial: viewSerial(s.To), At: now.Truncate(time.Second), NotAfter: now.Truncate(time.Second).Add(time.Hour)}}
	}
	next, err := view.Apply(s, now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func openTestStore(t testing.TB, dir string, log io.Writer) *dirStore {
	t.Helper()
	s, err := openStore(dir, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// savedViews saves some views one after the other and returns the file after each.
func savedViews(t *testing.T, dir string, count int) (files [][]byte) {
	t.Helper()
	s := openTestStore(t, dir, io.Discard)
	defer s.close()
	var view *feed.View
	for range count {
		view = revokeNext(t, view)
		if err := s.saveView(view); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, feedFile))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	return files
}

// Each news is appended; a restart knows all of them, goes on behind them, and an agent that comes back has nothing to write.
func TestViewsAreAppendedAndReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	files := savedViews(t, dir, 20)
	for i, data := range files[1:] {
		if !bytes.HasPrefix(data, files[i]) {
			t.Fatalf("the view %d was written whole", i+2)
		}
	}
	s := openTestStore(t, dir, io.Discard)
	view, err := s.loadView()
	if err != nil || view.Sequence() != 20 {
		t.Fatalf("at %d, %v", view.Sequence(), err)
	}
	if err := s.saveView(revokeNext(t, view)); err != nil {
		t.Fatal(err)
	}
	s.close()
	s = openTestStore(t, dir, io.Discard)
	defer s.close()
	again, err := s.loadView()
	if err != nil || again.Sequence() != 21 {
		t.Fatalf("at %d, %v", again.Sequence(), err)
	}
	for n := range uint64(21) {
		if _, found := again.Find(viewIssuer, viewSerial(n+1)); !found {
			t.Errorf("%d is not revoked any more", n+1)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, feedFile))
	if err != nil || !bytes.HasPrefix(data, files[19]) {
		t.Errorf("after a restart the view was written whole (%v)", err)
	}
}

// A crash cuts the last record off at any octet: what was durable before it counts. Any octet that is not what was written is damage, and
// then nothing counts: never less than what was acknowledged.
func TestACutRecordIsLeftOutAndADamagedOneIsNotBelieved(t *testing.T) {
	files := savedViews(t, filepath.Join(t.TempDir(), "state"), 4)
	last := files[3]
	for length := range len(last) {
		read, torn, err := readViewLog(last[:length])
		switch {
		case length < len(files[0]):
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("cut to %d: %v", length, err)
			}
		case err != nil:
			t.Fatalf("cut to %d: %v", length, err)
		default:
			want := uint64(1)
			for i, file := range files {
				if length >= len(file) {
					want = uint64(i + 1)
				}
			}
			if read.view.Sequence() != want || torn != (length != len(files[want-1])) {
				t.Fatalf("cut to %d: at %d, torn %v; want %d", length, read.view.Sequence(), torn, want)
			}
		}
	}
	for at := range last {
		damaged := bytes.Clone(last)
		damaged[at] ^= 1 << (at % 8)
		if read, _, err := readViewLog(damaged); !errors.Is(err, errCorrupt) {
			t.Fatalf("damaged at %d: at %d, %v", at, read.view.Sequence(), err)
		}
	}
	// A record that was there twice, or left out, or in another place.
	first, second := last[len(files[0]):len(files[1])], last[len(files[1]):len(files[2])]
	for name, records := range map[string][]byte{
		"twice": bytes.Join([][]byte{first, first}, nil), "left out": second, "turned round": bytes.Join([][]byte{second, first}, nil),
	} {
		if _, _, err := readViewLog(append(bytes.Clone(files[0]), records...)); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What cannot be appended to is written whole: a file that was cut off, one that has grown, one of the format before, after a failure.
func TestWhenAViewIsWrittenWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	files := savedViews(t, dir, 3)
	path := filepath.Join(dir, feedFile)
	var log logtest.Buffer
	reload := func(content []byte) (*dirStore, *feed.View) {
		t.Helper()
		if content != nil {
			os.WriteFile(path, content, 0o600)
		}
		s := openTestStore(t, dir, &log)
		view, err := s.loadView()
		if err != nil {
			t.Fatal(err)
		}
		return s, view
	}
	saveNext := func(s *dirStore, view *feed.View) *feed.View {
		t.Helper()
		next := revokeNext(t, view)
		if err := s.saveView(next); err != nil {
			t.Fatal(err)
		}
		return next
	}
	expect := func(what string, want uint64) {
		t.Helper()
		s, view := reload(nil)
		defer s.close()
		if view.Sequence() != want {
			t.Errorf("%s: at %d; want %d", what, view.Sequence(), want)
		}
	}
	s, view := reload(files[2][:len(files[2])-1])
	saveNext(s, view)
	s.close()
	expect("cut off", 3)

	old, err := view.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	s, view = reload(frameState(feedMagic, old))
	saveNext(s, view)
	s.close()
	expect("of the format before", 3)

	s, view = reload(files[2])
	s.views.file.Close() // a disk that takes nothing
	if err := s.saveView(revokeNext(t, view)); err == nil {
		t.Error("saved to a closed file")
	}
	saveNext(s, saveNext(s, view))
	s.close()
	expect("after a failure", 5)

	s, view = reload(nil)
	s.views.size = maxViewLog
	saveNext(s, view)
	if s.views.size != 0 {
		t.Errorf("a file that had grown was appended to: %d octets of records", s.views.size)
	}
	s.close()
	expect("grown", 6)
	if log.String() != "" {
		t.Errorf("logged: %s", log.String())
	}
	s, view = reload(append(bytes.Clone(files[2]), make([]byte, 100)...))
	s.close()
	if view != nil || !strings.Contains(log.String(), "set aside") {
		t.Errorf("a damaged file is believed: at %d; log %s", view.Sequence(), log.String())
	}
}

// A process is killed again and again while it saves. What was saved before is there after each kill: a restarted agent knows at least
// what it has acknowledged.
func TestKilledWhileSavingViews(t *testing.T) {
	if dir := os.Getenv("HANDFAST_TEST_VIEW_LOOP"); dir != "" {
		viewLoop(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "state")
	var log logtest.Buffer
	for i := range 12 {
		helper := exec.Command(os.Args[0], "-test.run=^TestKilledWhileSavingViews$")
		helper.Env = append(os.Environ(), "HANDFAST_TEST_VIEW_LOOP="+dir)
		output, err := helper.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := helper.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := uint64(0)
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			n, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				break // the end of a line that was cut off
			}
			if acknowledged == 0 {
				time.AfterFunc(time.Duration(i*700)*time.Microsecond, func() { helper.Process.Kill() })
			}
			acknowledged = n
		}
		helper.Wait()
		s := openTestStore(t, dir, &log)
		view, err := s.loadView()
		if err != nil || acknowledged == 0 || view.Sequence() < acknowledged {
			t.Fatalf("kill %d: at %d, %v; acknowledged %d; log %s", i, view.Sequence(), err, acknowledged, log.String())
		}
		for n := range view.Sequence() {
			if _, found := view.Find(viewIssuer, viewSerial(n+1)); !found {
				t.Fatalf("kill %d: %d is not revoked any more", i, n+1)
			}
		}
		s.close()
	}
	if log.String() != "" {
		t.Errorf("a kill left damage: %s", log.String())
	}
}

// viewLoop saves one view after the other, and says so, until it is killed. Now and then it writes one whole.
func viewLoop(t *testing.T, dir string) {
	s := openTestStore(t, dir, os.Stderr)
	view, err := s.loadView()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		view = revokeNext(t, view)
		if i%16 == 15 {
			s.views.size = maxViewLog
		}
		if err := s.saveView(view); err != nil {
			t.Fatal(err)
		}
		fmt.Println(view.Sequence())
	}
}

// FuzzReadViewLog: what is read is a sound view, and its records are within the file.
func FuzzReadViewLog(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "state")
	s := openTestStore(f, dir, io.Discard)
	var view *feed.View
	for range 3 {
		view = revokeNext(f, view)
		if err := s.saveView(view); err != nil {
			f.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, feedFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-1])
	}
	s.close()
	f.Fuzz(func(t *testing.T, data []byte) {
		read, _, err := readViewLog(data)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("an error that is not about damage: %v", err)
			}
			return
		}
		raw, err := read.view.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := feed.ParseView(raw); err != nil || read.size > len(data) {
			t.Fatalf("%v; %d octets of records in %d", err, read.size, len(data))
		}
	})
}

// BenchmarkSaveViewOfAMillion is one revocation behind a million: what an agent writes for each burst.
func BenchmarkSaveViewOfAMillion(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	hashes := make([]uint64, 1_000_000)
	for i := range hashes {
		hashes[i] = random.Uint64()
	}
	now := time.Now().Truncate(time.Millisecond)
	view, err := (*feed.View)(nil).Apply(&feed.Statement{TrustDomain: "test.example", To: 1, SignedAt: now, NextUpdate: now.Add(time.Hour), Snapshot: feed.NewSet(hashes), Issuers: []string{viewIssuer}}, now)
	if err != nil {
		b.Fatal(err)
	}
	s := openTestStore(b, filepath.Join(b.TempDir(), "state"), io.Discard)
	defer s.close()
	if err := s.saveView(view); err != nil {
		b.Fatal(err)
	}
	written := bytesWritten(b)
	for b.Loop() {
		view = revokeNext(b, view)
		if err := s.saveView(view); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bytesWritten(b)-written)/float64(b.N), "written-B/op")
}

// bytesWritten is what this process has handed to write(2).
func bytesWritten(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("it is counted on Linux only")
	}
	for line := range strings.Lines(string(data)) {
		if count, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no wchar in /proc/self/io")
	return 0
}
