"""Attacks what is printed or released: which withheld numbers can a reader work out?"""
