"""Tells Twisted's plug-in system that there is an ``eml``; nothing else is imported before somebody asks for it."""

from mailfw.plugins import Plugin

eml = Plugin("source", "eml", "mailfw_eml.source.eml", "Every message an .eml file, every mailbox a directory.")
