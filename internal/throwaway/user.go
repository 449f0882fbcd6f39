package throwaway

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// A User says as whom the servers run.
type User struct {
	Name     string
	UID, GID int
	Switched bool   // it is another user than that of this process
	Self     string // the user of this process
}

// FindUser returns the user of this process. For root it returns the user with
// the name, because servers do not run as root. The error says how to get that
// user.
func FindUser(name, cure string) (User, error) {
	self, err := user.Current()
	if err != nil {
		return User{}, fmt.Errorf("who runs this: %w", err)
	}
	if os.Geteuid() != 0 {
		return User{Name: self.Username, UID: os.Geteuid(), GID: os.Getegid(), Self: self.Username}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return User{}, fmt.Errorf("root cannot run a server, and the user %s is missing; get it with: %s (%w)", name, cure, err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG); err != nil {
		return User{}, fmt.Errorf("user %s: %w", name, err)
	}
	return User{Name: u.Username, UID: uid, GID: gid, Switched: true, Self: self.Username}, nil
}

// Own makes u the owner of a file or folder.
func (u User) Own(name string) error {
	if !u.Switched {
		return nil
	}
	return os.Chown(name, u.UID, u.GID)
}
