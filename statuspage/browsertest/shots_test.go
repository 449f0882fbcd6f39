package browsertest

import (
	"bytes"
	"cmp"
	"database/sql"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/EnumApps/clustersql"
	"github.com/EnumApps/clustersql/internal/fakedb"
	"github.com/EnumApps/clustersql/internal/galeratest"
	"github.com/EnumApps/clustersql/statuspage"
)

// shots is the folder for the pictures of the manual. Without it the tests only
// make them.
var shots = flag.String("shots", "", "write the pictures of the manual into this folder, as in ../../docs")

// A shot is one picture of the manual.
type shot struct {
	name          string
	width, height int64
	scheme        string
	query         string
	noScript      bool
	at            string // scrolls to this element
}

var allShots = []shot{
	{name: "page-light", width: 1240, height: 850, scheme: "light"},
	{name: "page-dark", width: 1240, height: 850, scheme: "dark"},
	{name: "page-fault", width: 1240, height: 860, scheme: "light", query: "?only=ill&figures=all", at: `[data-who="read_conn/galera3"]`},
	{name: "page-phone", width: 390, height: 844, scheme: "light"},
	{name: "page-noscript", width: 1240, height: 850, scheme: "light", noScript: true},
}

// The pictures of the manual are those of the page as it is: with -shots they
// are written.
func TestPicturesOfTheManual(t *testing.T) {
	t.Parallel()
	page := scene(t)
	for _, s := range allShots {
		picture := take(t, page, s)
		colours := coloursOf(t, picture)
		if colours < 20 {
			t.Errorf("%s has only %d colours", s.name, colours)
		}
		if *shots == "" {
			size := sizeOf(t, filepath.Join("../../docs", s.name+".png"))
			if want := sizeOf(t, "", picture...); size != want {
				t.Errorf("docs/%s.png is %v and the page %v: write it with -shots", s.name, size, want)
			}
			continue
		}
		if err := os.WriteFile(filepath.Join(*shots, s.name+".png"), small(t, picture), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// scene makes three clusters of three Galera nodes in whose last minute a lot
// happened, and returns the page's address.
func scene(t *testing.T) string {
	t.Helper()
	s := &stage{backend: fakedb.New()}
	s.backend.NameNodes(func(dsn string) string { // each cluster has servers of its own here
		user, rest, _ := strings.Cut(dsn, ":")
		_, rest, _ = strings.Cut(rest, "(")
		address, _, _ := strings.Cut(rest, ")")
		return user + "/" + address
	})
	strategies := map[string]clustersql.Strategy{"write_conn": clustersql.Ordered, "read_conn": clustersql.Balanced, "sess_conn": clustersql.Hedged}
	scripts := make(map[string]*galeratest.Script)
	for _, cluster := range slices.Sorted(maps.Keys(strategies)) {
		d := clustersql.NewDriver(s.backend.Driver(), cluster, clustersql.WithLogger(slog.New(slog.DiscardHandler)), clustersql.WithSeed(1),
			clustersql.WithStrategy(strategies[cluster]), clustersql.WithDialect(clustersql.DialectMySQL), clustersql.WithProbe(400*time.Millisecond, 300*time.Millisecond),
			clustersql.WithFailbackAfter(4*time.Second), clustersql.WithDonors(false, time.Hour), clustersql.WithDrainTimeout(time.Hour))
		for i := range 3 {
			node, address := fmt.Sprintf("galera%d", i+1), fmt.Sprintf("dbhost%d:3306", i+1)
			n := s.backend.Node(cluster + "/" + address)
			n.SetMood(fakedb.Mood{Delay: time.Duration(3+2*i) * 100 * time.Microsecond})
			scripts[cluster+"/"+node] = galeratest.Node(n)
			var options []clustersql.NodeOption
			if cluster == "write_conn" && i == 2 {
				options = append(options, clustersql.WithPriority(1))
			}
			if err := d.AddNode(node, cluster+":secret@tcp("+address+")/shop", options...); err != nil {
				t.Fatal(err)
			}
		}
		db := sql.OpenDB(d.Connector())
		t.Cleanup(func() {
			db.Close()
			d.Close()
		})
		s.clusters = append(s.clusters, d)
		s.work(t, db)
	}
	address, _ := serve(t, prefix, statuspage.Handler(statuspage.Clusters(s.clusters...), statuspage.Title("shop: clusters"), statuspage.AllowDrain()))

	// The pictures show how long a node has been in its state, and rates of these
	// seconds. No check depends on them.
	// The pictures of the manual have a minute that can be read; without -shots each
	// state is enough.
	pause := func(seconds float64) {
		if *shots != "" {
			time.Sleep(time.Duration(seconds * float64(time.Second)))
		}
	}
	pause(5)
	s.kill("write_conn", "dbhost1:3306")
	s.until(t, "write_conn", "galera1", clustersql.StateDown)
	pause(3)
	s.revive("write_conn", "dbhost1:3306")
	s.until(t, "write_conn", "galera1", clustersql.StateUp)
	scripts["sess_conn/galera2"].State.Store("2") // a donor
	pause(3)
	if err := s.clusters[1].Drain("galera3"); err != nil { // of sess_conn
		t.Fatal(err)
	}
	pause(1)
	s.kill("read_conn", "dbhost3:3306")
	s.until(t, "read_conn", "galera3", clustersql.StateDown)
	pause(3)
	return address
}

// take makes a picture of the page.
func take(t *testing.T, page string, s shot) []byte {
	b := open(t)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: s.noScript})
	b.do(chromedp.EmulateViewport(s.width, s.height), chromedp.Navigate(page+s.query))
	if !s.noScript {
		b.until(live)
		if *shots != "" {
			time.Sleep(2 * tickOfThePage) // the first rates
		}
	}
	if s.at != "" {
		eval[bool](b, fmt.Sprintf(`document.querySelector('%s').scrollIntoView(), true`, s.at))
	}
	b.well(page)
	return get(b, chromedp.CaptureScreenshot())
}

// tickOfThePage is how often the page changes.
const tickOfThePage = 500 * time.Millisecond

func decode(t *testing.T, picture []byte) image.Image {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sizeOf returns the size of a picture, or of one in a file.
func sizeOf(t *testing.T, path string, picture ...byte) image.Point {
	t.Helper()
	if path != "" {
		var err error
		if picture, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return decode(t, picture).Bounds().Size()
}

func coloursOf(t *testing.T, picture []byte) int { return len(histogram(decode(t, picture))) }

func histogram(m image.Image) map[color.RGBA]int {
	found := make(map[color.RGBA]int)
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			found[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)]++
		}
	}
	return found
}

// small returns a picture with the 256 colours that it has most of. What it has
// else are the edges of letters.
func small(t *testing.T, picture []byte) []byte {
	t.Helper()
	m := decode(t, picture)
	found := histogram(m)
	all := slices.SortedFunc(maps.Keys(found), func(a, b color.RGBA) int { return cmp.Compare(found[b], found[a]) })
	var palette color.Palette
	for _, c := range all[:min(256, len(all))] {
		palette = append(palette, c)
	}
	nearest := make(map[color.RGBA]uint8, len(all))
	for _, c := range all {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(m.Bounds(), palette)
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			out.SetColorIndex(x, y, nearest[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)])
		}
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
