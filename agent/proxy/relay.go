package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxEarlyAnswers bounds the 1xx answers before a final one.
const maxEarlyAnswers = 16

// hopByHop are the fields for one connection only (RFC 9110, section 7.6.1), with those that never
// were in a standard.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// relay passes on an answer that is not plain: of unknown length, with trailers, or after early answers. It is
// read by net/http.
func (a *answer) relay() (status int, ok bool, err error) {
	limit := &io.LimitedReader{R: io.MultiReader(bytes.NewReader(a.in[:a.filled]), a.service), N: maxHeaderBytes}
	from := bufio.NewReader(limit)
	to := bufio.NewWriter(a.lane.client)
	response, err := a.final(from, to)
	if err != nil {
		return 0, false, err
	}
	limit.N = math.MaxInt64
	defer response.Body.Close() //nolint:errcheck // read to its end, or given up
	chunked := a.frame(response)
	if err := a.writeHead(to, response); err != nil {
		return response.StatusCode, false, nil //nolint:nilerr // the client is gone, which is no failure of ours
	}
	if from.Buffered() == 0 {
		to.Flush() //nolint:errcheck // its error stays, for the next write
	}
	if a.hasBody(response.StatusCode) {
		if err := a.copyBody(to, response.Body, chunked); err != nil {
			return response.StatusCode, false, err
		}
	}
	if chunked {
		response.Trailer.Write(to) //nolint:errcheck // as above
		to.WriteString("\r\n")     //nolint:errcheck // as above
	}
	a.reusable = !response.Close && from.Buffered() == 0
	return response.StatusCode, to.Flush() == nil, nil
}

// final reads the final answer and hands early ones on.
func (a *answer) final(from *bufio.Reader, to *bufio.Writer) (*http.Response, error) {
	for range maxEarlyAnswers {
		response, err := http.ReadResponse(from, &http.Request{Method: string(a.lane.request.Method)})
		if err != nil {
			return nil, err
		}
		switch code := response.StatusCode; {
		case code == http.StatusSwitchingProtocols:
			return nil, errors.New("the local service switches protocols without being asked to")
		case code >= 200:
			return response, nil
		case code != http.StatusContinue: // nobody waits for that one
			removeHopByHop(response.Header)
			if err := errors.Join(writeHead(to, response), to.Flush()); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("the local service sent more than %d early answers", maxEarlyAnswers)
}

// frame sets the fields that say where the body ends. It reports whether that is by chunks.
func (a *answer) frame(response *http.Response) (chunked bool) {
	header := response.Header
	removeHopByHop(header)
	if !a.hasBody(response.StatusCode) {
		if response.StatusCode == http.StatusNoContent {
			header.Del("Content-Length")
		}
		return false
	}
	if response.ContentLength >= 0 {
		header.Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
		return false
	}
	header.Del("Content-Length")
	header.Set("Transfer-Encoding", "chunked")
	if len(response.Trailer) > 0 {
		var names []string
		for name := range response.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		header.Set("Trailer", strings.Join(names, ", "))
	}
	return true
}

func (a *answer) writeHead(to *bufio.Writer, response *http.Response) error {
	if len(response.Header["Date"]) == 0 {
		response.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	if a.last {
		response.Header.Set("Connection", "close")
	}
	return writeHead(to, response)
}

func writeHead(to *bufio.Writer, response *http.Response) error {
	if _, err := fmt.Fprintf(to, "HTTP/1.1 %03d %s\r\n", response.StatusCode, http.StatusText(response.StatusCode)); err != nil {
		return err
	}
	if err := response.Header.Write(to); err != nil {
		return err
	}
	_, err := to.WriteString("\r\n")
	return err
}

// copyBody passes every piece on as it comes.
func (a *answer) copyBody(to *bufio.Writer, body io.Reader, chunked bool) error {
	pieces := io.WriteCloser(unchunked{to})
	if chunked {
		pieces = httputil.NewChunkedWriter(to)
	}
	for {
		n, err := body.Read(a.out)
		if n > 0 {
			if _, err := pieces.Write(a.out[:n]); err != nil {
				return err
			}
			if err := to.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return pieces.Close()
		}
		if err != nil {
			return err
		}
	}
}

// unchunked ends without a mark: the length was said before.
type unchunked struct{ io.Writer }

func (unchunked) Close() error { return nil }

// removeHopByHop also removes what Connection names.
func removeHopByHop(header http.Header) {
	for _, options := range header["Connection"] {
		for option := range strings.SplitSeq(options, ",") {
			header.Del(strings.TrimSpace(option))
		}
	}
	for _, name := range hopByHop {
		header.Del(name)
	}
}
