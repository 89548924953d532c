"""Where mail is kept: each store provides `mailfw.interfaces.IMailStore`, in its own file or folder."""
