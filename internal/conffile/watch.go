package conffile

import "crypto/sha256"

// A Content is what is known of a file that was read. It holds no secret. Its user guards
// it.
type Content struct {
	sum  [sha256.Size]byte
	lost bool // the file could not be read since
}

// Read notes that the text was read.
func (c *Content) Read(text string) { c.sum, c.lost = sha256.Sum256([]byte(text)), false }

// Lost notes that the file could not be read.
func (c *Content) Lost() { c.lost = true }

// A Watch is what somebody who looks at a file again and again remembers. The zero
// Watch has not looked.
type Watch struct {
	before  [sha256.Size]byte // the content at the last look that could read it
	missing string            // why the last look could not read it; empty if it could
}

// A Sight is what one look at a file has shown.
type Sight struct {
	Text, Path string
	Changed    bool  // the content is to be read, and was found twice in a row: nobody is writing it
	Err        error // why the file cannot be read, if it is another reason than at the look before
}

// Look looks at the file, beside what was last read of it. What has changed is new, or is
// there again after the file was lost.
func (w *Watch) Look(path string, read *Content) (s Sight) {
	var err error
	if s.Text, s.Path, err = ReadText(path); err != nil {
		if err.Error() != w.missing { // and not at every look
			w.missing, s.Err = err.Error(), err
		}
		return s
	}
	sum := sha256.Sum256([]byte(s.Text))
	s.Changed = sum == w.before && (sum != read.sum || read.lost)
	w.missing, w.before = "", sum
	return s
}
