package pgcluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// crowdRole is whose connections fill a node.
const crowdRole = "crowd"

// Fill opens connections until the node says that it has no room for another
// one (SQLSTATE 53300), and holds them until Empty. What room connections leave
// that others close later, stays. The administrator still has room.
func (n *Node) Fill(ctx context.Context) error {
	n.log("fill")
	for {
		conn, err := n.enter(ctx)
		if refused := new(refusal); errors.As(err, &refused) && refused.state == "53300" {
			return nil
		}
		if err != nil {
			return n.wrap("filling it up", err)
		}
		n.mu.Lock()
		n.crowd = append(n.crowd, conn)
		n.mu.Unlock()
	}
}

// Empty closes the connections of Fill.
func (n *Node) Empty() {
	n.mu.Lock()
	crowd := n.crowd
	n.crowd = nil
	n.mu.Unlock()
	for _, conn := range crowd {
		conn.Close()
	}
	if len(crowd) > 0 {
		n.log("%d connections of the crowd end", len(crowd))
	}
}

// A refusal is the server's answer to a connection that it does not take.
type refusal struct{ state, text string }

func (r *refusal) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", r.text, r.state) }

// enter connects as one of the crowd, by hand: there is no driver here.
func (n *Node) enter(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.Addr())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	const version3 = 3 << 16
	hello := binary.BigEndian.AppendUint32(nil, version3)
	hello = append(hello, strings.Join([]string{"user", crowdRole, "database", Database, "application_name", crowdRole}, "\x00")+"\x00\x00"...)
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(hello)+4)), hello...))
	for kind := byte(0); err == nil && kind != 'Z'; { // ready for query
		var body []byte
		if kind, body, err = readMessage(conn); err == nil && kind == 'E' {
			err = refusalOf(body)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func readMessage(conn net.Conn) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > 1<<20 {
		return 0, nil, fmt.Errorf("a message of %d bytes", size)
	}
	body = make([]byte, size-4)
	_, err = io.ReadFull(conn, body)
	return head[0], body, err
}

// refusalOf reads the fields of an ErrorResponse.
func refusalOf(body []byte) error {
	r := new(refusal)
	for field := range bytes.SplitSeq(body, []byte{0}) {
		if len(field) == 0 {
			continue
		}
		switch text := string(field[1:]); field[0] {
		case 'C':
			r.state = text
		case 'M':
			r.text = text
		}
	}
	return r
}
