"""no_accept BACKLOG: listens, and never accepts. Says the port."""

import sys

from e2e import listen, port_of, say, wait_for_end

listener = listen(backlog=int(sys.argv[1]))
say(port=port_of(listener))
wait_for_end()
